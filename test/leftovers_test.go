//go:build linux

package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// leftovers counts what a server's workloads have on this machine. Everything of one data directory carries a mark that
// follows from its path, so that the tests of others, which run at the same time, are not counted.
type leftovers struct {
	Mounts, Namespaces, Links, Groups, Rules, Processes, ServerFiles, DaemonFiles int
}

func markOf(data string) string {
	if real, err := filepath.EvalSymlinks(data); err == nil {
		data = real
	}
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:4])
}

func count(data string, server int) (l leftovers, err error) {
	mark := markOf(data)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return l, err
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, mark) || strings.Contains(line, data) {
			l.Mounts++
			if strings.Contains(line, " - nsfs ") {
				l.Namespaces++
			}
		}
	}
	if links, err := exec.Command("ip", "-o", "link", "show", "master", "fl"+mark).Output(); err == nil {
		l.Links = bytes.Count(links, []byte("\n"))
	}
	rules, err := exec.Command("iptables-save").Output()
	if err != nil {
		return l, fmt.Errorf("iptables-save: %w", err)
	}
	for line := range strings.Lines(string(rules)) {
		if strings.Contains(strings.ToLower(line), mark) {
			l.Rules++
		}
	}
	if l.Groups, err = countGroups(mark); err != nil {
		return l, err
	}
	daemon := 0
	if l.Processes, daemon, err = countProcesses(mark); err != nil {
		return l, err
	}
	l.ServerFiles, l.DaemonFiles = countFiles(server), countFiles(daemon)
	return l, nil
}

func countGroups(mark string) (n int, err error) {
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, mark) {
			n++
		}
		return nil // groups of others come and go meanwhile
	})
	return n, err
}

// countProcesses counts those in the control groups, the shims and the daemon, and gives the daemon's number.
func countProcesses(mark string) (n, daemon int, err error) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, 0, err
	}
	for _, proc := range procs {
		line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		group, err := os.ReadFile(filepath.Join(proc, "cgroup"))
		if err != nil || !strings.Contains(string(line)+string(group), mark) && !bytes.HasPrefix(line, []byte("fairlead-containerd\x00")) {
			continue
		}
		if bytes.HasPrefix(line, []byte("fairlead-containerd\x00")) {
			config, _ := os.ReadFile(lastArgument(line))
			if !strings.Contains(string(config), mark) {
				continue // another instance's
			}
			daemon, _ = strconv.Atoi(filepath.Base(proc))
		}
		n++
	}
	return n, daemon, nil
}

func lastArgument(cmdline []byte) string {
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	return args[len(args)-1]
}

func countFiles(pid int) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return -1
	}
	return len(entries)
}

// cmdLeftovers writes the counts to a file, or with "same" waits until they are those of the file:
// leftovers FILE; leftovers same FILE.
func cmdLeftovers(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) < 1 {
		ts.Fatalf("usage: leftovers [same] FILE")
	}
	now := func() leftovers {
		l, err := count(ts.Getenv("DATA"), w.server.Process.Pid)
		ts.Check(err)
		return l
	}
	if args[0] != "same" {
		l := now()
		for range 50 { // what has just ended may still be closing its files: two looks have to agree
			<-time.After(200 * time.Millisecond)
			before := l
			if l = now(); l == before {
				break
			}
		}
		text, err := json.Marshal(l)
		ts.Check(err)
		ts.Logf("%s", text)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
		return
	}
	var before leftovers
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &before))
	var diff string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(200 * time.Millisecond) {
		if diff = cmp.Diff(before, now()); diff == "" {
			return
		}
	}
	ts.Fatalf("what is left differs (-before +after):\n%s", diff)
}

// cmdNothing fails when anything of the data directory is left on the machine.
func cmdNothing(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := count(ts.Getenv("DATA"), 0)
	ts.Check(err)
	l.ServerFiles, l.DaemonFiles = 0, 0
	if l != (leftovers{}) {
		ts.Fatalf("left over: %+v", l)
	}
	mark := markOf(ts.Getenv("DATA"))
	if _, err := os.Stat("/sys/class/net/fl" + mark); err == nil {
		ts.Fatalf("the bridge fl%s is left", mark)
	}
	if _, err := os.Stat("/run/fairlead-" + mark); err == nil {
		ts.Fatalf("/run/fairlead-%s is left", mark)
	}
}
