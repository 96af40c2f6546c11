//go:build linux

// Command bench measures a Fairlead from outside and writes docs/benchmarks.md: start to ready, idle memory, manifests
// per second beside a peer (Debian's docker-registry) and beside a bare HTTP handler in the same run, and a container
// group from PUT to running, cold and warm, split by the stages of its own pull record. Absolute numbers are this
// machine's at this moment; the ratios are what counts. With -kube it measures a managed cluster instead.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/client"
)

func main() {
	program := flag.String("program", "bin/fairlead", "the fairlead program to measure")
	out := flag.String("out", "docs/benchmarks.md", "file that the report is written to")
	seconds := flag.Duration("for", 3*time.Second, "how long each load runs")
	kube := flag.String("kube", "", "measure a cluster of this fairlead-kube, and nothing else")
	bare := flag.Bool("bare", false, "serve the bare handler that Fairlead is measured against")
	flag.Parse()
	if *bare {
		if err := serveBare(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Minute)
	defer stop()
	command, measures := "bench", []measure{measureStart, measureServing, measureApply}
	if *kube != "" {
		command, measures = "bench-kube", []measure{func(ctx context.Context, program string, _ time.Duration, w io.Writer) error {
			return measureCluster(ctx, program, *kube, w)
		}}
	}
	if err := run(ctx, *program, *out, *seconds, command, measures); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure measures something of a Fairlead, under loads of that duration if any, and writes what it found.
type measure func(ctx context.Context, program string, load time.Duration, w io.Writer) error

func run(ctx context.Context, program, out string, seconds time.Duration, command string, measures []measure) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	var report strings.Builder
	fmt.Fprintf(&report, "# Benchmarks\n\nWritten by `make %s` on %s, %d cores, %s. Absolute numbers are one machine's at one moment; read the ratios.\n",
		command, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	for _, m := range measures {
		if err := m(ctx, program, seconds, &report); err != nil {
			return err
		}
	}
	fmt.Print(report.String())
	return os.WriteFile(out, []byte(report.String()), 0o644)
}

// server is a Fairlead under measurement.
type server struct {
	program, dir string
	cmd          *exec.Cmd
	ready        client.Ready
	took         time.Duration
}

// start runs `fairlead up` in a new directory and returns when it is ready.
func start(program string) (*server, error) {
	dir, err := workDir()
	if err != nil {
		return nil, err
	}
	s := &server{program: program, dir: dir}
	file := filepath.Join(dir, "ready.json")
	s.cmd = exec.Command(program, "up", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--ready-file", file)
	log, err := os.Create(filepath.Join(dir, "up.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stderr = log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "Fairlead is ready") {
			s.took = time.Since(begin)
			go io.Copy(io.Discard, stdout)
			s.ready, err = client.ReadReady(file)
			return s, err
		}
	}
	text, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("fairlead up ended before it was ready:\n%s", text)
}

// stop ends the server and everything it runs, and removes its directory.
func (s *server) stop() error {
	out, err := exec.Command(s.program, "down", "--purge", "--data", filepath.Join(s.dir, "data")).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("fairlead down: %w: %s", err, out)
	}
	_ = s.cmd.Wait()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// command gives a command of the CLI that speaks to the server.
func (s *server) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Env = append(os.Environ(), "FAIRLEAD_READY_FILE="+filepath.Join(s.dir, "ready.json"))
	return cmd
}

// cli runs a command of the CLI and gives what it prints.
func (s *server) cli(ctx context.Context, args ...string) ([]byte, error) {
	out, err := s.command(ctx, args...).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = fmt.Errorf("fairlead %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}

// cliJSON is cli with --output json, decoded into v.
func (s *server) cliJSON(ctx context.Context, v any, args ...string) error {
	out, err := s.cli(ctx, append(args, "--output", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, v)
}

func workDir() (string, error) { return os.MkdirTemp("", "fairlead-bench-") }

func measureStart(_ context.Context, program string, _ time.Duration, w io.Writer) error {
	const runs = 5
	var took []time.Duration
	var memory, daemon int64
	for range runs {
		s, err := start(program)
		if err != nil {
			return err
		}
		took = append(took, s.took)
		if memory, daemon, err = s.memory(); err != nil {
			return errors.Join(err, s.stop())
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	slices.Sort(took)
	fmt.Fprintf(w, "\n## Start and memory\n\n| | measured | aim |\n|---|---|---|\n")
	fmt.Fprintf(w, "| start with an empty directory to ready, median of %d | %.2f s | 5 s |\n", runs, took[runs/2].Seconds())
	fmt.Fprintf(w, "| idle memory, proportional set size: server + containerd | %d + %d = %d MiB | 200 MiB |\n", memory>>20, daemon>>20, (memory+daemon)>>20)
	return nil
}

// memory gives the proportional set size of the server and of its containerd, in bytes.
func (s *server) memory() (server, daemon int64, err error) {
	if server, err = pss(s.cmd.Process.Pid); err != nil {
		return 0, 0, err
	}
	children, err := exec.Command("pgrep", "-f", "^fairlead-containerd .*"+filepath.Join(s.dir, "data")).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("finding containerd: %w", err)
	}
	for pid := range strings.FieldsSeq(string(children)) {
		var n int
		if _, err := fmt.Sscan(pid, &n); err != nil {
			return 0, 0, err
		}
		size, err := pss(n)
		if err != nil {
			return 0, 0, err
		}
		daemon += size
	}
	return server, daemon, nil
}

func pss(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d tells no Pss", pid)
}

// cpu gives the processor time that a process has used.
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	const ticks = 100 // per second, on every Linux that Go supports
	return time.Duration(user+system) * time.Second / ticks, nil
}

func endPeer(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
}
