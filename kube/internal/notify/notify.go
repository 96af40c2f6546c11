// Package notify owns what a process says of its own start to whoever started it, over the socket that systemd and
// fairlead name in NOTIFY_SOCKET (sd_notify(3)).
package notify

import (
	"net"
	"os"
	"strings"
)

// Socket is where it is said; "" is nowhere.
type Socket string

// Take gives the socket that the environment names, and takes it out of the environment: the API server and the kubelet
// would else say there that they are ready, each for itself.
func Take() Socket {
	s := Socket(os.Getenv("NOTIFY_SOCKET"))
	_ = os.Unsetenv("NOTIFY_SOCKET")
	return s
}

// Status says in a few words what is waited for.
func (s Socket) Status(text string) { s.send("STATUS=" + strings.ReplaceAll(text, "\n", " ")) }

// Ready says that the process does its work.
func (s Socket) Ready() { s.send("READY=1") }

// send is best effort: when nobody listens, nobody has to know.
func (s Socket) send(line string) {
	if s == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: string(s), Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(line))
}
