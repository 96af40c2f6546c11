package graph

import (
	"context"
	"net/http"
	"time"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/identity"
	"fairlead.dev/internal/resource"
)

// maxBody is the largest body that is read, in bytes.
const maxBody = 1 << 20

// application is how Graph writes an application. The lists are there even when they are empty: az looks into them.
type application struct {
	Context         string     `json:"@odata.context,omitempty"`
	ODataType       string     `json:"@odata.type,omitempty"`
	ID              string     `json:"id"`
	AppID           string     `json:"appId"`
	DisplayName     string     `json:"displayName"`
	CreatedDateTime time.Time  `json:"createdDateTime"`
	SignInAudience  string     `json:"signInAudience"`
	IdentifierURIs  []string   `json:"identifierUris"`
	Tags            []string   `json:"tags"`
	Passwords       []password `json:"passwordCredentials"`
	Keys            []string   `json:"keyCredentials"`
	ResourceAccess  []string   `json:"requiredResourceAccess"`
}

// password is how Graph writes a client secret. The text is there only in the answer to addPassword.
type password struct {
	Context             string    `json:"@odata.context,omitempty"`
	CustomKeyIdentifier *string   `json:"customKeyIdentifier"` // always null
	DisplayName         string    `json:"displayName"`
	EndDateTime         time.Time `json:"endDateTime"`
	Hint                string    `json:"hint"`
	KeyID               string    `json:"keyId"`
	SecretText          *string   `json:"secretText"`
	StartDateTime       time.Time `json:"startDateTime"`
}

func encodeApplication(a identity.Application) application {
	out := application{
		ID: a.ObjectID, AppID: a.ClientID, DisplayName: a.DisplayName, CreatedDateTime: a.Created, SignInAudience: "AzureADMyOrg",
		IdentifierURIs: []string{}, Tags: []string{}, Passwords: []password{}, Keys: []string{}, ResourceAccess: []string{},
	}
	for _, s := range a.Secrets {
		out.Passwords = append(out.Passwords, encodePassword(s))
	}
	return out
}

func encodePassword(s identity.Secret) password {
	return password{DisplayName: s.DisplayName, EndDateTime: s.End, Hint: s.Hint, KeyID: s.KeyID, StartDateTime: s.Start}
}

// context gives the value of "@odata.context".
func (h *handler) context(of string) string {
	return h.Origin.URL(resource.Graph) + "/v1.0/$metadata#" + of
}

func (h *handler) application(ctx context.Context, k key) (identity.Application, error) {
	if k.property == "appid" {
		return h.Directory.ApplicationByClientID(ctx, k.value)
	}
	return h.Directory.Application(ctx, k.value)
}

func (h *handler) listApplications(c call) (answer, error) {
	return list(h, c, collection[identity.Application]{
		"applications", h.Directory.Applications,
		func(a identity.Application) (string, string, string, any) {
			return a.ObjectID, a.ClientID, a.DisplayName, encodeApplication(a)
		},
	})
}

func (h *handler) createApplication(c call) (answer, error) {
	var body struct {
		DisplayName string `json:"displayName"`
	}
	if err := api.ReadJSON(c.r, maxBody, &body); err != nil {
		return answer{}, err
	}
	a, err := h.Directory.CreateApplication(c.r.Context(), body.DisplayName)
	if err != nil {
		return answer{}, err
	}
	out := encodeApplication(a)
	out.Context = h.context("applications/$entity")
	return answer{http.StatusCreated, out}, nil
}

func (h *handler) getApplication(c call) (answer, error) {
	a, err := h.application(c.r.Context(), c.key)
	if err != nil {
		return answer{}, err
	}
	out := encodeApplication(a)
	out.Context = h.context("applications/$entity")
	return answer{http.StatusOK, out}, nil
}

func (h *handler) deleteApplication(c call) (answer, error) {
	a, err := h.application(c.r.Context(), c.key)
	if err != nil {
		return answer{}, err
	}
	return answer{}, h.Directory.DeleteApplication(c.r.Context(), a.ObjectID)
}

func (h *handler) addPassword(c call) (answer, error) {
	a, err := h.application(c.r.Context(), c.key)
	if err != nil {
		return answer{}, err
	}
	var body struct {
		Password struct {
			DisplayName   string   `json:"displayName"`
			StartDateTime dateTime `json:"startDateTime"`
			EndDateTime   dateTime `json:"endDateTime"`
		} `json:"passwordCredential"`
	}
	if err := api.ReadJSON(c.r, maxBody, &body); err != nil {
		return answer{}, err
	}
	asked := body.Password
	made, text, err := h.Directory.AddSecret(c.r.Context(), a.ObjectID, asked.DisplayName, asked.StartDateTime.t, asked.EndDateTime.t)
	if err != nil {
		return answer{}, err
	}
	out, value := encodePassword(made), text.Reveal()
	out.Context, out.SecretText = h.context("microsoft.graph.passwordCredential"), &value
	return answer{http.StatusOK, out}, nil
}

func (h *handler) removePassword(c call) (answer, error) {
	a, err := h.application(c.r.Context(), c.key)
	if err != nil {
		return answer{}, err
	}
	var body struct {
		KeyID string `json:"keyId"`
	}
	if err := api.ReadJSON(c.r, maxBody, &body); err != nil {
		return answer{}, err
	}
	return answer{}, h.Directory.RemoveSecret(c.r.Context(), a.ObjectID, body.KeyID)
}

// dateTime is a time as clients write it: RFC 3339, or the same without a zone, which means UTC.
type dateTime struct{ t time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *dateTime) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			d.t = t
			return nil
		}
	}
	return errBadRequest.WithMessage("'%.40s' is not a date and time of the form 2030-12-31T23:59:59Z.", text)
}
