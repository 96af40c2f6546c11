package controlplane

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"fairlead.dev/kube/internal/pki"
)

// openStore starts the datastore: one etcd member, on the loopback interface, that only holders of a certificate of the
// cluster's store authority can speak to. Pods on the node's network could reach the port, too.
func (c *ControlPlane) openStore(ctx context.Context) (*embed.Etcd, error) {
	cert, key, _, err := c.certs.Store.Ensure(pki.Leaf{Name: "store", User: "store", Hosts: []string{"127.0.0.1", "localhost"}})
	if err != nil {
		return nil, err
	}
	tls := transport.TLSInfo{CertFile: cert, KeyFile: key, TrustedCAFile: c.certs.Store.File(), ClientCertAuth: true}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "fairlead", filepath.Join(c.cfg.Dir, "store")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = loopback(storePort), loopback(storePort)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = loopback(storePeerPort), loopback(storePeerPort)
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ClientTLSInfo, cfg.PeerTLSInfo = tls, tls
	cfg.LogLevel = "warn"
	store, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("starting the datastore: %w", err)
	}
	select {
	case <-store.Server.ReadyNotify():
		return store, nil
	case err = <-store.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	store.Close()
	return nil, fmt.Errorf("starting the datastore: %w", err)
}

func loopback(port int) []url.URL {
	return []url.URL{{Scheme: "https", Host: "127.0.0.1:" + strconv.Itoa(port)}}
}
