package client

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Ready is the file that `fairlead up --ready-file` writes when everything answers.
type Ready struct {
	Version        string     `json:"version"`
	PID            int        `json:"pid"`
	Domain         string     `json:"domain"`
	Port           int        `json:"port"`
	ARM            string     `json:"arm"`
	Login          string     `json:"login"`
	Graph          string     `json:"graph"`
	RegistrySuffix string     `json:"registrySuffix"`
	CAFile         string     `json:"caFile"`
	Tenant         string     `json:"tenantId"`
	Subscription   string     `json:"subscriptionId"`
	Admin          Credential `json:"admin"`
}

// ReadReady reads a ready file. When there is none, the error is fs.ErrNotExist.
func ReadReady(path string) (Ready, error) {
	var r Ready
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s is not a ready file: %w", path, err)
	}
	if r.ARM == "" || r.Login == "" || r.Domain == "" || r.Port == 0 {
		return r, fmt.Errorf("%s is not a ready file: arm, login, domain and port must be set", path)
	}
	if r.CAFile != "" && !filepath.IsAbs(r.CAFile) {
		r.CAFile = filepath.Join(filepath.Dir(path), r.CAFile)
	}
	return r, nil
}

// Server gives what a client needs. The file is of a server on this machine, so its hosts are dialled on the loopback
// address: names under localhost do not resolve everywhere.
func (r Ready) Server() (Server, error) {
	s := Server{
		Domain: r.Domain, ARM: r.ARM, Login: r.Login, Graph: r.Graph, RegistrySuffix: r.RegistrySuffix,
		Tenant: r.Tenant, Subscription: r.Subscription,
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Port)),
	}
	if r.CAFile != "" {
		pem, err := os.ReadFile(r.CAFile)
		if err != nil {
			return s, fmt.Errorf("reading the certificate authority: %w", err)
		}
		s.CA = string(pem)
	}
	return s, nil
}
