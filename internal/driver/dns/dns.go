// Package dns owns the name server of the container network: our domains lead to the gateway, container groups' names
// to the groups, and everything else is asked of the name servers that the host itself asks. It keeps no zone of its own
// and no cache; what a name means it is told.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Config says what is answered, and where.
type Config struct {
	Address    netip.AddrPort // where to listen, UDP and TCP; port 0 takes a free one, the same for both
	Domains    []string       // served here: they and all names below them
	Gateway    netip.Addr     // what names in Domains lead to
	Lookup     Lookup         // of names that lead elsewhere; may be nil
	ResolvConf string         // the host's list of name servers, read at each question; "" is /etc/resolv.conf
	Log        *slog.Logger
}

// Lookup gives the address of a name in one of the domains, lower-case and without a final dot. ok is false for a name
// that means nothing special, which leads to the gateway; true with the zero address says that there is no such name.
type Lookup func(name string) (address netip.Addr, ok bool)

const (
	ttl       = 5               // seconds: a group may have another address when it is made anew
	patience  = 2 * time.Second // with one of the host's name servers
	maxAsking = 256             // questions at once that wait for the host's name servers
)

// Server is a name server that listens.
type Server struct {
	cfg     Config
	udp     net.PacketConn
	tcp     net.Listener
	asking  chan struct{}
	network map[string]*dns.Client
}

// Listen takes the address; from Run on questions are answered.
func Listen(cfg Config) (*Server, error) {
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	for i, d := range cfg.Domains {
		cfg.Domains[i] = strings.ToLower(strings.Trim(d, "."))
	}
	s := &Server{cfg: cfg, asking: make(chan struct{}, maxAsking), network: map[string]*dns.Client{
		"udp": {Net: "udp", Timeout: patience}, "tcp": {Net: "tcp", Timeout: patience},
	}}
	var err error
	if s.tcp, err = net.Listen("tcp", cfg.Address.String()); err != nil {
		return nil, fmt.Errorf("listen for DNS: %w", err)
	}
	if s.udp, err = net.ListenPacket("udp", s.tcp.Addr().String()); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for DNS: %w", err), s.tcp.Close())
	}
	return s, nil
}

// Address is where the server listens.
func (s *Server) Address() netip.AddrPort {
	return s.tcp.Addr().(*net.TCPAddr).AddrPort()
}

// Run answers until ctx ends, and gives up the address.
func (s *Server) Run(ctx context.Context) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.answer(ctx, w, q) })
	servers := []*dns.Server{{PacketConn: s.udp, Handler: handler}, {Listener: s.tcp, Handler: handler}}
	var group sync.WaitGroup
	served, stopped := make([]error, len(servers)), make([]error, len(servers))
	for i, server := range servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		group.Go(func() { served[i] = server.ActivateAndServe() })
		<-started // a server that has not begun cannot be stopped
	}
	<-ctx.Done()
	for i, server := range servers {
		stopped[i] = server.Shutdown()
	}
	group.Wait()
	return errors.Join(append(served, stopped...)...)
}

// Close gives up the address of a server that was never run.
func (s *Server) Close() error { return errors.Join(s.udp.Close(), s.tcp.Close()) }

func (s *Server) answer(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	transport := w.LocalAddr().Network()
	reply := s.reply(ctx, transport, q)
	if opt := q.IsEdns0(); opt != nil && reply.IsEdns0() == nil {
		reply.SetEdns0(opt.UDPSize(), false)
	}
	if transport == "udp" {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
		reply.Truncate(size)
	}
	if err := w.WriteMsg(reply); err != nil {
		s.cfg.Log.DebugContext(ctx, "dns_reply", "error", err)
	}
}

// reply gives the answer to a question; only questions have one.
func (s *Server) reply(ctx context.Context, transport string, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 || q.Response {
		return m.SetRcode(q, dns.RcodeNotImplemented)
	}
	name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
	if domain := s.domainOf(name); domain != "" {
		return s.own(q, name, domain)
	}
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
		return s.forward(ctx, transport, q)
	default:
		return m.SetRcode(q, dns.RcodeServerFailure)
	}
}

// domainOf gives the domain that name is in; "" when it is none of ours.
func (s *Server) domainOf(name string) string {
	for _, d := range s.cfg.Domains {
		if name == d || strings.HasSuffix(name, "."+d) {
			return d
		}
	}
	return ""
}

// own answers for a name in one of our domains. It has an IPv4 address and nothing else: other types get an empty answer
// (RFC 2308 section 2.2), with a start of authority by which resolvers know how long that holds.
func (s *Server) own(q *dns.Msg, name, domain string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	address := s.cfg.Gateway
	if s.cfg.Lookup != nil {
		if found, ok := s.cfg.Lookup(name); ok {
			address = found
		}
	}
	question := q.Question[0]
	header := dns.RR_Header{Name: question.Name, Class: dns.ClassINET, Ttl: ttl}
	if address.IsValid() && question.Qclass == dns.ClassINET && (question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY) {
		header.Rrtype = dns.TypeA
		m.Answer = []dns.RR{&dns.A{Hdr: header, A: address.AsSlice()}}
		return m
	}
	if !address.IsValid() {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: dns.Fqdn(domain), Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns." + dns.Fqdn(domain), Mbox: "hostmaster." + dns.Fqdn(domain),
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}}
	return m
}

// forward asks the host's name servers in turn, by the transport that we were asked by. Without any, or when none
// answers, it is a failure of ours, never silence.
func (s *Server) forward(ctx context.Context, transport string, q *dns.Msg) *dns.Msg {
	for _, server := range s.upstreams() {
		answer, _, err := s.network[transport].ExchangeContext(ctx, q.Copy(), server)
		if err == nil {
			answer.Id = q.Id
			return answer
		}
		s.cfg.Log.DebugContext(ctx, "dns_forward", "server", server, "error", err)
	}
	return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
}

// upstreams gives the host's name servers without ourselves, lest a question run in a circle.
func (s *Server) upstreams() []string {
	conf, err := dns.ClientConfigFromFile(s.cfg.ResolvConf)
	if err != nil {
		return nil
	}
	var servers []string
	for _, server := range conf.Servers {
		servers = append(servers, net.JoinHostPort(server, conf.Port))
	}
	return slices.DeleteFunc(servers, func(server string) bool { return server == s.Address().String() })
}
