package main

import (
	"context"
	"encoding/json"
	"errors"

	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/kubewhy"
	"fairlead.dev/internal/driver/kubernetes"
)

// gather reads a cluster for why, with the rights of whoever asks.
func gather(ctx context.Context, q kubewhy.Question) (json.RawMessage, error) {
	evidence, err := kubernetes.Read(ctx, kubernetes.Question{
		Kubeconfig: q.Kubeconfig, Token: string(q.Token), File: q.File, Context: q.Context,
		Namespace: q.Namespace, Kind: q.Kind, Name: q.Name, Kubectl: q.Kubectl,
	})
	switch {
	case errors.Is(err, kubernetes.ErrNotFound):
		return nil, exit.Errorf(exit.NotFound, "name its namespace with -n, or see 'kubectl get pods --all-namespaces'", "%w", err)
	case errors.Is(err, kubernetes.ErrDenied):
		return nil, exit.Errorf(exit.Denied, "", "%w", err)
	case errors.Is(err, kubernetes.ErrKind):
		return nil, exit.Errorf(exit.Usage, "", "%w", err)
	}
	return evidence, err
}
