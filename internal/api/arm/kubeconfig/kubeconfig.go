// Package kubeconfig owns the kubeconfig documents that a managed cluster hands out, named as Azure names what is in them,
// so that `az aks get-credentials` files them under the names that people know. Making the certificates and deciding who
// gets which document is for others.
package kubeconfig

import (
	"fmt"

	"sigs.k8s.io/yaml"

	"fairlead.dev/internal/resource"
)

// Cluster is what the documents of one cluster share.
type Cluster struct {
	ID            resource.ID // of the managed cluster
	Server        string      // URL of the API server: "https://HOST:PORT"
	TLSServerName string      // the name in its certificate; "" when it is Server's host
	CA            []byte      // PEM of the authority that signed its certificate
}

// config is a kubeconfig.
//
// Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
type config struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
	Preferences    struct{}       `json:"preferences"`
	Users          []namedUser    `json:"users"`
}

type namedCluster struct {
	Name    string  `json:"name"`
	Cluster cluster `json:"cluster"`
}

type cluster struct {
	CA            []byte `json:"certificate-authority-data"` // base64 in JSON, as it is wanted
	Server        string `json:"server"`
	TLSServerName string `json:"tls-server-name,omitempty"`
}

type namedContext struct {
	Name    string     `json:"name"`
	Context contextRef `json:"context"`
}

type contextRef struct {
	Cluster string `json:"cluster"`
	User    string `json:"user"`
}

type namedUser struct {
	Name string `json:"name"`
	User user   `json:"user"`
}

type user struct {
	Certificate []byte `json:"client-certificate-data,omitempty"`
	Key         []byte `json:"client-key-data,omitempty"`
	Exec        *exec  `json:"exec,omitempty"`
}

type exec struct {
	APIVersion         string   `json:"apiVersion"`
	Command            string   `json:"command"`
	Args               []string `json:"args"`
	InstallHint        string   `json:"installHint"`
	InteractiveMode    string   `json:"interactiveMode"`
	ProvideClusterInfo bool     `json:"provideClusterInfo"`
}

// Admin gives the document of the cluster's administrator, who has a client certificate. It holds the key: who has it
// administers the cluster until the certificate ends. Its context has the cluster's name, as in Azure; clients file it as
// "<name>-admin" beside the other.
func (c Cluster) Admin(certificate, key []byte) []byte {
	return c.document("clusterAdmin", user{Certificate: certificate, Key: key})
}

// User gives the document of everybody else. It holds no secret: kubectl runs `fairlead kube token` for a token of whoever is
// signed in. args are given to that command besides.
func (c Cluster) User(args ...string) []byte {
	return c.document("clusterUser", user{Exec: &exec{
		APIVersion: "client.authentication.k8s.io/v1", Command: "fairlead",
		Args:            append([]string{"kube", "token", "--server-id", resource.AzureClusters}, args...),
		InstallHint:     "The program fairlead is not on PATH. Install it, and sign in with 'fairlead login' unless the server runs on this machine.",
		InteractiveMode: "Never",
	}})
}

func (c Cluster) document(role string, u user) []byte {
	name := c.ID.Name()
	userName := role + "_" + c.ID.ResourceGroup() + "_" + name
	text, err := yaml.Marshal(config{
		APIVersion: "v1", Kind: "Config", CurrentContext: name,
		Clusters: []namedCluster{{name, cluster{CA: c.CA, Server: c.Server, TLSServerName: c.TLSServerName}}},
		Contexts: []namedContext{{name, contextRef{Cluster: name, User: userName}}},
		Users:    []namedUser{{userName, u}},
	})
	if err != nil {
		panic(fmt.Sprintf("writing a kubeconfig of strings: %v", err))
	}
	return text
}
