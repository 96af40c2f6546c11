package compute

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	"fairlead.dev/internal/fault"
)

// ErrUnreachable: nothing runs behind a sandbox's address.
var ErrUnreachable = fault.New(fault.Unavailable, "WorkloadUnreachable", "nothing runs behind this address")

// DialContext connects to a port of a sandbox by its address, through the cluster's API server: Fairlead need not stand
// in the cluster's own network.
func (d *Driver) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	ip, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	box := d.service(func(s *corev1.Service) bool { return s.Spec.ClusterIP == ip })
	if box == nil {
		return nil, ErrUnreachable
	}
	pod := d.pod(box.Labels[labelSandbox])
	if pod == nil || pod.Status.Phase != corev1.PodRunning {
		return nil, ErrUnreachable
	}
	type answer struct {
		conn net.Conn
		err  error
	}
	answers := make(chan answer, 1)
	d.all.Go(func() { // the library's dialer knows no context
		conn, err := d.forward(pod, port)
		answers <- answer{conn, err}
	})
	select {
	case a := <-answers:
		return a.conn, failed("connecting to the workload", a.err)
	case <-ctx.Done():
		d.all.Go(func() {
			if a := <-answers; a.conn != nil {
				_ = a.conn.Close()
			}
		})
		return nil, ctx.Err()
	}
}

// forward opens one connection to a port of a pod.
func (d *Driver) forward(pod *corev1.Pod, port string) (net.Conn, error) {
	url := d.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(d.rest)
	if err != nil {
		return nil, err
	}
	modern, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, d.rest)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	conn, _, err := portforward.NewFallbackDialerForStreaming(modern, old, httpstream.IsUpgradeFailure).Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, port)
	headers.Set(corev1.PortForwardRequestIDHeader, "1")
	faults, err := conn.CreateStream(headers)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return nil, errors.Join(err, faults.Close(), conn.Close())
	}
	t := &tunnel{Stream: data, conn: conn}
	d.all.Go(func() {
		if message, err := io.ReadAll(faults); err == nil && len(message) > 0 { // "connection refused", say
			_ = data.Reset()
		}
	})
	return t, faults.Close() // our side of it: we have nothing to tell
}

// tunnel is a connection through the API server.
type tunnel struct {
	httpstream.Stream
	conn httpstream.Connection
}

// Close implements net.Conn.
func (t *tunnel) Close() error {
	return errors.Join(t.Stream.Close(), t.conn.Close())
}

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return tunnelAddr{} }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return tunnelAddr{} }

// SetDeadline implements net.Conn; a tunnel has none, its users end it.
func (t *tunnel) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (t *tunnel) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (t *tunnel) SetWriteDeadline(time.Time) error { return nil }

type tunnelAddr struct{}

func (tunnelAddr) Network() string { return "kubernetes" }
func (tunnelAddr) String() string  { return "pod" }
