package server

import "path/filepath"

// ReadyFile gives the path of the ready file that every server keeps in its data directory.
func ReadyFile(data string) string { return filepath.Join(data, "ready.json") }

// AuthorityFile gives the path of the certificate authority in a data directory.
func AuthorityFile(data string) string { return filepath.Join(data, "ca.pem") }
