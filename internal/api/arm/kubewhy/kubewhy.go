// Package kubewhy owns the body of the question why pods cannot pull: what the caller has read of a cluster. Reading the
// cluster is for the client, which does it with the rights of whoever asks; what it means is package explain's business.
package kubewhy

import (
	"fairlead.dev/internal/api"
	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/fault"
)

var errInvalid = fault.New(fault.Invalid, "InvalidRequestContent", "the evidence is not whole")

// Decode reads the evidence and names the field that is wrong.
func Decode(body []byte) (evidence.Evidence, error) {
	var e evidence.Evidence
	if len(body) == 0 {
		return e, errInvalid.WithMessage("The request has no body: the evidence that was read of the cluster is expected.")
	}
	if err := api.DecodeJSON(body, &e); err != nil {
		return e, err
	}
	if field, err := e.Validate(); err != nil {
		return e, errInvalid.WithMessage("The evidence is invalid at '%s': %s.", field, err).WithTarget(field)
	}
	return e, nil
}
