// Package cluster owns what a managed cluster is made of: the Plan of one, and the Machine that brings a plan about and
// keeps it so. What goes on within a cluster is upstream Kubernetes' business; how a cluster is written on the wire is that
// of the surfaces.
package cluster
