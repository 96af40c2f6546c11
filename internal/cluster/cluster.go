// Package cluster owns managed clusters: what a person wants of one, how far it is, and the loop that brings it about on
// a Machine and keeps it so. What goes on within a cluster is upstream Kubernetes' business; how a cluster is written on
// the wire is that of the surfaces.
package cluster
