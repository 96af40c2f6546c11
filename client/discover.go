package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Discover asks a resource manager where the other endpoints are. server needs ARM, and CA and Address as they are to
// be used; Discover fills in Domain, Login, Graph, RegistrySuffix and, unless it is set, Tenant. Nothing secret is sent.
func Discover(ctx context.Context, server Server) (Server, error) {
	u, err := url.Parse(strings.TrimRight(server.ARM, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return server, fmt.Errorf("%q is not an https URL such as https://management.fairlead.localhost:8443", server.ARM)
	}
	domain, ok := strings.CutPrefix(strings.ToLower(u.Hostname()), "management.")
	if !ok {
		return server, fmt.Errorf("the host of %s does not begin with 'management.'", server.ARM)
	}
	server.Domain, server.ARM = domain, u.Scheme+"://"+u.Host
	server.Login, server.Graph = server.ARM, server.ARM // placeholders: nothing is sent there
	c, err := New(server, Credential{})
	if err != nil {
		return server, err
	}
	defer c.Close()
	a, err := c.send(ctx, request{method: http.MethodGet, url: server.ARM + "/metadata/endpoints?api-version=2022-09-01"})
	if err != nil {
		return server, err
	}
	var cloud struct {
		Authentication struct {
			LoginEndpoint string `json:"loginEndpoint"`
			Tenant        string `json:"tenant"`
		} `json:"authentication"`
		Graph    string `json:"microsoftGraphResourceId"`
		Suffixes struct {
			ACR string `json:"acrLoginServer"`
		} `json:"suffixes"`
	}
	if err := a.decode(&cloud); err != nil {
		return server, err
	}
	server.Login, server.Graph = strings.TrimRight(cloud.Authentication.LoginEndpoint, "/"), strings.TrimRight(cloud.Graph, "/")
	server.RegistrySuffix = "." + strings.TrimPrefix(cloud.Suffixes.ACR, ".")
	if server.Tenant == "" && !strings.EqualFold(cloud.Authentication.Tenant, "common") {
		server.Tenant = cloud.Authentication.Tenant
	}
	for what, host := range map[string]string{"login": server.Login, "graph": server.Graph} {
		if u, err := url.Parse(host); err != nil || u.Scheme != "https" || !server.owns(u.Hostname()) {
			return server, fmt.Errorf("the %s endpoint %q that %s names does not lie under %s", what, host, server.ARM, domain)
		}
	}
	return server, nil
}
