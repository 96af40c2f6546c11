// Package evidence owns what somebody could read of a Kubernetes cluster about a workload that should pull: the document
// that the reader of clusters writes and that package explain judges, and how a kubelet takes credentials out of pull
// secrets. It knows neither Kubernetes' API nor who may read what; what the document says is the word of whoever sent it.
package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"fairlead.dev/internal/secret"
)

// Evidence is what could be read about one workload.
type Evidence struct {
	Namespace string `json:"namespace"`
	// Asked is the workload that was asked about; Controller is what makes its pods and what has to be changed so that they
	// change: of a pod that nothing controls the pod itself.
	Asked      Object `json:"asked"`
	Controller Object `json:"controller"`
	// Kubectl is how whoever asks runs kubectl, word by word; ["kubectl"] when empty.
	Kubectl []string `json:"kubectl,omitempty"`

	Pods     []Pod     `json:"pods"`
	LeftOut  int       `json:"leftOut,omitempty"` // pods that were not looked at, for their number
	NoPods   string    `json:"noPods,omitempty"`  // why there is none, in the cluster's words
	Accounts []Account `json:"accounts,omitempty"`
	// Secrets are those of Namespace that pods or service accounts name, in any state, and the other pull secrets in it.
	Secrets []Secret `json:"secrets,omitempty"`
	Nodes   []Node   `json:"nodes,omitempty"`
	Unread  []Unread `json:"unread,omitempty"`
}

// Object names an object of Namespace.
type Object struct {
	Kind string `json:"kind"` // "Deployment"
	Name string `json:"name"`
}

// Pod is one pod.
type Pod struct {
	Name        string      `json:"name"`
	Node        string      `json:"node,omitempty"` // "" while it has none
	Waits       string      `json:"waits,omitempty"`
	Account     string      `json:"account"`
	PullSecrets []string    `json:"pullSecrets,omitempty"` // in order; admission has copied the service account's here
	Containers  []Container `json:"containers"`
	Events      []Event     `json:"events,omitempty"`
}

// Container is one container of a pod and its present state.
type Container struct {
	Name   string `json:"name"`
	Image  string `json:"image"`
	Policy string `json:"policy"` // "Always", "IfNotPresent", "Never"
	Init   bool   `json:"init,omitempty"`
	// Reason and Message are why it waits, or what ended it.
	Reason   string `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
	Running  bool   `json:"running,omitempty"`
	Ended    bool   `json:"ended,omitempty"`
	ExitCode int32  `json:"exitCode,omitempty"`
	Restarts int32  `json:"restarts,omitempty"`
}

// Event is one kind of event of a pod.
type Event struct {
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Count   int32     `json:"count"`
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
}

// State says whether something was found.
type State string

// The states.
const (
	Found  State = "found"
	Absent State = "absent"
	Hidden State = "hidden" // whoever asks may not read it
)

// Account is a service account.
type Account struct {
	Name        string            `json:"name"`
	State       State             `json:"state"`
	PullSecrets []string          `json:"pullSecrets,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"` // those that name an identity
}

// Secret is a pull secret.
type Secret struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Type  string `json:"type,omitempty"`
	// Elsewhere are other namespaces that have a pull secret of this name; looked for when it is absent.
	Elsewhere []string `json:"elsewhere,omitempty"`
	// Broken is why the kubelet takes nothing from it; "" when it does. Key is where its content was found nevertheless.
	Broken string `json:"broken,omitempty"`
	Key    string `json:"key,omitempty"`
	// Fatal: the kubelet not only passes over it, it refuses to pull at all.
	Fatal   bool    `json:"fatal,omitempty"`
	Entries []Entry `json:"entries,omitempty"`
}

// Entry is a login for one registry. Password is left out where the entry fits none of the images.
type Entry struct {
	Server   string
	Username string
	Password secret.Text
}

type entryDocument struct {
	Server   string `json:"server"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// MarshalJSON writes the entry with its password: the document carries it to the server, which tries it.
func (e Entry) MarshalJSON() ([]byte, error) {
	return json.Marshal(entryDocument{e.Server, e.Username, e.Password.Reveal()})
}

// UnmarshalJSON reads an entry.
func (e *Entry) UnmarshalJSON(text []byte) error {
	var d entryDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	*e = Entry{d.Server, d.Username, secret.New(d.Password)}
	return nil
}

// Node is a node that pods are on.
type Node struct {
	Name         string   `json:"name"`
	OS           string   `json:"os,omitempty"`
	Architecture string   `json:"architecture,omitempty"`
	ProviderID   string   `json:"providerId,omitempty"`
	Images       []string `json:"images,omitempty"` // of the pods' images, those that are on it
}

// Unread is something that would have helped.
type Unread struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Most that a document holds.
const (
	MaxPods       = 100
	MaxSecrets    = 200
	maxEntries    = 200
	maxContainers = 50
)

// Validate finds the first fault; field is its path.
func (e Evidence) Validate() (field string, err error) {
	switch {
	case e.Namespace == "":
		return "namespace", errors.New("name the namespace")
	case e.Asked.Kind == "" || e.Asked.Name == "":
		return "asked", errors.New("name the workload by its kind and name")
	case e.Controller.Kind == "" || e.Controller.Name == "":
		return "controller", errors.New("name what makes the pods by its kind and name")
	case len(e.Pods) > MaxPods:
		return "pods", fmt.Errorf("there are %d pods; the limit is %d", len(e.Pods), MaxPods)
	case len(e.Secrets) > MaxSecrets:
		return "secrets", fmt.Errorf("there are %d secrets; the limit is %d", len(e.Secrets), MaxSecrets)
	}
	for i, p := range e.Pods {
		if p.Name == "" {
			return fmt.Sprintf("pods[%d].name", i), errors.New("name the pod")
		}
		if len(p.Containers) > maxContainers {
			return fmt.Sprintf("pods[%d].containers", i), fmt.Errorf("there are %d containers; the limit is %d", len(p.Containers), maxContainers)
		}
		for j, c := range p.Containers {
			if c.Name == "" || c.Image == "" {
				return fmt.Sprintf("pods[%d].containers[%d]", i, j), errors.New("a container has a name and an image")
			}
		}
	}
	for i, s := range e.Secrets {
		if len(s.Entries) > maxEntries {
			return fmt.Sprintf("secrets[%d].entries", i), fmt.Errorf("there are %d entries; the limit is %d", len(s.Entries), maxEntries)
		}
	}
	return "", nil
}

// Secret gives what is known of a secret of the namespace.
func (e Evidence) Secret(name string) (Secret, bool) {
	i := slices.IndexFunc(e.Secrets, func(s Secret) bool { return s.Name == name })
	if i < 0 {
		return Secret{}, false
	}
	return e.Secrets[i], true
}

// Account gives what is known of a service account of the namespace.
func (e Evidence) Account(name string) (Account, bool) {
	i := slices.IndexFunc(e.Accounts, func(a Account) bool { return a.Name == name })
	if i < 0 {
		return Account{}, false
	}
	return e.Accounts[i], true
}

// Node gives what is known of a node.
func (e Evidence) Node(name string) (Node, bool) {
	i := slices.IndexFunc(e.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return e.Nodes[i], true
}
