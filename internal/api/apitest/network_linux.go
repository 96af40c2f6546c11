package apitest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// MetadataAddress is where Azure's libraries look for instance metadata, and cannot be told otherwise.
const MetadataAddress = "169.254.169.254"

// OnMachine runs the calling test again in a process with a network of its own, where MetadataAddress is its own, and
// reports whether this is that process already.
func OnMachine(t *testing.T) bool {
	t.Helper()
	const mark = "FAIRLEAD_TEST_NAMESPACE"
	if os.Getenv(mark) != "" {
		lo, err := netlink.LinkByName("lo")
		Must(t, err)
		Must(t, netlink.LinkSetUp(lo))
		address, err := netlink.ParseAddr(MetadataAddress + "/32")
		Must(t, err)
		Must(t, netlink.AddrAdd(lo, address))
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
	return false
}
