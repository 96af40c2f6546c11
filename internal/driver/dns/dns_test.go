package dns_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
	"go.uber.org/goleak"

	"fairlead.dev/internal/driver/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the end of the test.
func serve(t *testing.T, cfg dns.Config) *dns.Server {
	t.Helper()
	cfg.Address = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := dns.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

// patience is for a machine with much else to do.
const patience = 30 * time.Second

// ask gives the answer in a line: code, addresses, and the number of authority records.
func ask(t *testing.T, s *dns.Server, network, name string, kind uint16) string {
	t.Helper()
	q := new(miekg.Msg).SetQuestion(name, kind)
	a, _, err := (&miekg.Client{Net: network, Timeout: patience}).Exchange(q, s.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	line := miekg.RcodeToString[a.Rcode]
	for _, rr := range a.Answer {
		switch rr := rr.(type) {
		case *miekg.A:
			line += " " + rr.A.String()
		case *miekg.TXT:
			line += " " + rr.Txt[0][:4]
		}
	}
	if a.Truncated {
		line += " truncated"
	}
	return fmt.Sprintf("%s %d", line, len(a.Ns))
}

func resolvConf(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnswers(t *testing.T) {
	s := serve(t, dns.Config{
		Domains: []string{"fairlead.internal", "Fairlead.localhost."},
		Gateway: netip.MustParseAddr("10.64.1.1"),
		Lookup: func(name string) (netip.Addr, bool) {
			switch {
			case name == "web.westeurope.azurecontainer.fairlead.internal":
				return netip.MustParseAddr("10.64.1.7"), true
			case strings.HasSuffix(name, ".azurecontainer.fairlead.internal"):
				return netip.Addr{}, true
			}
			return netip.Addr{}, false
		},
		ResolvConf: resolvConf(t),
	})
	for _, c := range []struct {
		name string
		kind uint16
		want string
	}{
		{"management.fairlead.internal.", miekg.TypeA, "NOERROR 10.64.1.1 0"},
		{"MyAcr.azurecr.FAIRLEAD.localhost.", miekg.TypeA, "NOERROR 10.64.1.1 0"},
		{"fairlead.internal.", miekg.TypeA, "NOERROR 10.64.1.1 0"},
		{"management.fairlead.internal.", miekg.TypeAAAA, "NOERROR 1"},
		{"management.fairlead.internal.", miekg.TypeMX, "NOERROR 1"},
		{"web.westeurope.azurecontainer.fairlead.internal.", miekg.TypeA, "NOERROR 10.64.1.7 0"},
		{"gone.westeurope.azurecontainer.fairlead.internal.", miekg.TypeA, "NXDOMAIN 1"},
		{"gone.westeurope.azurecontainer.fairlead.internal.", miekg.TypeAAAA, "NXDOMAIN 1"},
		{"notfairlead.internal.", miekg.TypeA, "SERVFAIL 0"},
		{"example.com.", miekg.TypeA, "SERVFAIL 0"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if diff := cmp.Diff(c.want, ask(t, s, network, c.name, c.kind)); diff != "" {
				t.Errorf("%s %s by %s: %s", c.name, miekg.TypeToString[c.kind], network, diff)
			}
		}
	}
}

// upstream answers everything with an address, and text longer than a datagram.
func upstream(t *testing.T) string {
	t.Helper()
	started := make(chan struct{}, 2)
	handler := miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
		m := new(miekg.Msg).SetReply(q)
		for i := range 8 {
			text := fmt.Sprintf("%d%s", i, strings.Repeat("x", 200))
			m.Answer = append(m.Answer, &miekg.TXT{Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeTXT, Class: miekg.ClassINET}, Txt: []string{text}})
		}
		if q.Question[0].Qtype == miekg.TypeA {
			m.Answer = []miekg.RR{&miekg.A{Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET}, A: []byte{192, 0, 2, 9}}}
		}
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(miekg.MinMsgSize)
		}
		_ = w.WriteMsg(m)
	})
	// Name servers in resolv.conf have no port, so one has to be of its own address: one of this process.
	address := fmt.Sprintf("127.54.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)
	for _, network := range []string{"udp", "tcp"} {
		server := &miekg.Server{Addr: net.JoinHostPort(address, "53"), Net: network, Handler: handler, NotifyStartedFunc: func() { started <- struct{}{} }}
		failed := make(chan error, 1)
		go func() { failed <- server.ListenAndServe() }()
		select {
		case <-started:
		case err := <-failed:
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("needs the right to listen on port 53: %v", err)
		}
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return address
}

func TestForwards(t *testing.T) {
	server := upstream(t)
	s := serve(t, dns.Config{
		Domains:    []string{"fairlead.internal"},
		Gateway:    netip.MustParseAddr("10.64.1.1"),
		ResolvConf: resolvConf(t, "search example.org", "nameserver 127.53.0.8", "nameserver "+server),
	})
	if diff := cmp.Diff("NOERROR 192.0.2.9 0", ask(t, s, "udp", "example.com.", miekg.TypeA)); diff != "" {
		t.Errorf("the second name server was not asked: %s", diff)
	}
	if got := ask(t, s, "udp", "example.com.", miekg.TypeTXT); !strings.Contains(got, "truncated") {
		t.Errorf("an answer longer than a datagram is not marked: %s", got)
	}
	if got := ask(t, s, "tcp", "example.com.", miekg.TypeTXT); strings.Contains(got, "truncated") || strings.Count(got, "xxx") != 8 {
		t.Errorf("by TCP the answer is not whole: %s", got)
	}
	if diff := cmp.Diff("NOERROR 10.64.1.1 0", ask(t, s, "udp", "a.fairlead.internal.", miekg.TypeA)); diff != "" {
		t.Error(diff)
	}
}

func TestRefusesOddQuestions(t *testing.T) {
	s := serve(t, dns.Config{Domains: []string{"fairlead.internal"}, Gateway: netip.MustParseAddr("10.64.1.1"), ResolvConf: resolvConf(t)})
	q := new(miekg.Msg).SetUpdate("fairlead.internal.")
	a, _, err := (&miekg.Client{Timeout: patience}).Exchange(q, s.Address().String())
	if err != nil || a.Rcode != miekg.RcodeNotImplemented {
		t.Errorf("an update got %v, %v", a, err)
	}
}
