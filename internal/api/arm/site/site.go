package site

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/internal/api"
	"fairlead.dev/internal/api/arm/cmdline"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/secret"
)

// The app settings that mean something to the platform.
const (
	settingPort       = "WEBSITES_PORT"
	settingStartLimit = "WEBSITES_CONTAINER_START_TIME_LIMIT"
	settingServer     = "DOCKER_REGISTRY_SERVER_URL"
	settingUsername   = "DOCKER_REGISTRY_SERVER_USERNAME"
	settingPassword   = "DOCKER_REGISTRY_SERVER_PASSWORD"
)

const (
	maxSettings   = 1000
	maxStartLimit = 1800 // seconds, Azure's own limit
	imagePrefix   = "DOCKER|"
)

// Site is what is kept of a web app.
type Site struct {
	Given
	Settings    map[string]secret.Text     // app settings
	Connections map[string]Connection      // connection strings
	Other       map[string]json.RawMessage // config/logs and others that have no effect here
}

// Given is what a PUT says of a site, secrets left out: the part that a GET may show, and that a PATCH is merged into.
type Given struct {
	Plan        string                     `json:"serverFarmId,omitempty"` // resource id; "" when it has none
	HTTPSOnly   *bool                      `json:"httpsOnly,omitempty"`
	Affinity    *bool                      `json:"clientAffinityEnabled,omitempty"`
	Enabled     *bool                      `json:"enabled,omitempty"`
	VaultReader *string                    `json:"keyVaultReferenceIdentity,omitempty"`
	Config      map[string]json.RawMessage `json:"siteConfig,omitempty"` // the fields that were given, by Azure's spelling
}

// Connection is a connection string.
type Connection struct {
	Value secret.Text
	Type  string // "SQLAzure", "Custom" …
}

var errSetting = fault.New(fault.Invalid, "InvalidParameter", "a setting is invalid")

var settingName = regexp.MustCompile(`^[A-Za-z0-9_.:/()-]{1,256}$`)

// sealed is how the secret part is written before it is sealed.
type sealed struct {
	Settings    map[string]string           `json:"settings"`
	Connections map[string]sealedConnection `json:"connections"`
	Other       map[string]json.RawMessage  `json:"configs,omitempty"`
}

type sealedConnection struct {
	Value string `json:"value"`
	Type  string `json:"type"`
}

// Read gives the site from its two stored parts; plain is nil for one that has no secrets.
func Read(public json.RawMessage, plain []byte) (Site, error) {
	s := Site{Settings: map[string]secret.Text{}, Connections: map[string]Connection{}}
	if err := json.Unmarshal(public, &s.Given); err != nil {
		return s, fmt.Errorf("reading a stored site: %w", err)
	}
	if plain == nil {
		return s, nil
	}
	var in sealed
	if err := json.Unmarshal(plain, &in); err != nil {
		return s, fmt.Errorf("reading a stored site's settings: %w", err)
	}
	for name, v := range in.Settings {
		s.Settings[name] = secret.New(v)
	}
	for name, c := range in.Connections {
		s.Connections[name] = Connection{secret.New(c.Value), c.Type}
	}
	s.Other = in.Other
	return s, nil
}

// Write gives the two parts to be stored; plain is to be sealed.
func (s Site) Write() (public json.RawMessage, plain []byte, err error) {
	out := sealed{map[string]string{}, map[string]sealedConnection{}, s.Other}
	for name, v := range s.Settings {
		out.Settings[name] = v.Reveal()
	}
	for name, c := range s.Connections {
		out.Connections[name] = sealedConnection{c.Value.Reveal(), c.Type}
	}
	if public, err = json.Marshal(s.Given); err != nil {
		return nil, nil, err
	}
	plain, err = json.Marshal(out)
	return public, plain, err
}

// Update applies the properties of a PUT, which have the shape of Properties. What they do not name stays.
func (s *Site) Update(properties json.RawMessage) error {
	given := s.Given
	given.Config = nil
	if err := api.DecodeJSON(properties, &given); err != nil {
		return err
	}
	raw, err := json.Marshal(given.Config)
	if err != nil {
		return err
	}
	given.Config = s.Config
	s.Given = given
	return s.UpdateConfig("properties.siteConfig", raw)
}

// lists are the parts of siteConfig that are kept apart.
type lists struct {
	AppSettings []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"appSettings"`
	ConnectionStrings []struct {
		Name  string `json:"name"`
		Value string `json:"connectionString"`
		Type  string `json:"type"`
	} `json:"connectionStrings"`
}

// UpdateConfig applies a siteConfig of the shape of Config; path is where it stands in the body.
func (s *Site) UpdateConfig(path string, raw json.RawMessage) error {
	var given map[string]json.RawMessage
	if err := api.DecodeJSON(raw, &given); err != nil {
		return err
	}
	s.merge(given)
	var l lists
	if err := api.DecodeJSON(raw, &l); err != nil {
		return err
	}
	if l.AppSettings != nil {
		settings := map[string]secret.Text{}
		for _, v := range l.AppSettings {
			settings[v.Name] = secret.New(v.Value)
		}
		s.Settings = settings
	}
	if l.ConnectionStrings != nil {
		s.Connections = map[string]Connection{}
		for _, v := range l.ConnectionStrings {
			s.Connections[v.Name] = Connection{secret.New(v.Value), v.Type}
		}
	}
	return s.check(path)
}

// merge keeps the given fields under Azure's spelling; a null says nothing.
func (s *Site) merge(given map[string]json.RawMessage) {
	if s.Config == nil {
		s.Config = map[string]json.RawMessage{}
	}
	for f := range otherFields + 1 {
		for _, name := range kept(f) {
			for as, v := range given {
				if strings.EqualFold(as, name) && string(v) != "null" {
					s.Config[name] = v
				}
			}
		}
	}
}

// ReplaceSettings replaces all app settings by the ones of an object of texts; null is none.
func (s *Site) ReplaceSettings(raw json.RawMessage) error {
	var given map[string]string
	if err := api.DecodeJSON(raw, &given); err != nil {
		return err
	}
	s.Settings = make(map[string]secret.Text, len(given))
	for name, v := range given {
		s.Settings[name] = secret.New(v)
	}
	return s.check("properties")
}

// ReplaceConnections replaces all connection strings by the ones of an object of {value, type}.
func (s *Site) ReplaceConnections(raw json.RawMessage) error {
	var given map[string]sealedConnection
	if err := api.DecodeJSON(raw, &given); err != nil {
		return err
	}
	s.Connections = make(map[string]Connection, len(given))
	for name, c := range given {
		s.Connections[name] = Connection{secret.New(c.Value), c.Type}
	}
	return s.check("properties")
}

// SetOther keeps a configuration that has no effect here.
func (s *Site) SetOther(name string, v json.RawMessage) {
	other := maps.Clone(s.Other)
	if other == nil {
		other = map[string]json.RawMessage{}
	}
	other[name] = v
	s.Other = other
}

// check refuses what the app could not be run with.
func (s *Site) check(path string) error {
	if _, err := s.Image(); err != nil {
		return fault.From(err).WithTarget(path + ".linuxFxVersion")
	}
	if _, err := cmdline.Split(s.text("appCommandLine")); err != nil {
		return fault.From(err).WithTarget(path + ".appCommandLine")
	}
	if len(s.Settings) > maxSettings {
		return errSetting.WithMessage("An app has at most %d settings; the request has %d.", maxSettings, len(s.Settings))
	}
	for name := range s.Connections {
		if !settingName.MatchString(name) {
			return errSetting.WithMessage("A connection string with the name '%.80s' is not allowed.", name).WithTarget(name)
		}
	}
	for name, v := range s.Settings {
		if !settingName.MatchString(name) || strings.ContainsRune(v.Reveal(), 0) {
			return errSetting.WithMessage("AppSetting with name '%.80s' is not allowed.", name).WithTarget(name)
		}
	}
	if _, err := s.number(settingPort, 65535); err != nil {
		return err
	}
	_, err := s.number(settingStartLimit, maxStartLimit)
	return err
}

// Image gives the image that linuxFxVersion names; "" when it names none.
func (s Site) Image() (string, error) {
	version := s.text("linuxFxVersion")
	if version == "" {
		return "", nil
	}
	if len(version) <= len(imagePrefix) || !strings.EqualFold(version[:len(imagePrefix)], imagePrefix) {
		return "", fault.Newf(fault.Invalid, "UnsupportedProperty", "The linuxFxVersion '%.80s' is not supported here: it is 'DOCKER|' and the name of an image.", version)
	}
	return version[len(imagePrefix):], nil
}

// text gives a field of siteConfig that holds text; "" when it is absent.
func (s Site) text(name string) string {
	var v string
	_ = json.Unmarshal(s.Config[name], &v) // absent, or checked against the schema
	return v
}

func (s Site) flag(name string) bool {
	var v bool
	_ = json.Unmarshal(s.Config[name], &v) // absent, or checked against the schema
	return v
}

// number gives a setting that holds a number from 1 to limit; 0 when it is absent.
func (s Site) number(name string, limit int) (int, error) {
	text := strings.TrimSpace(s.setting(name).Reveal())
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limit {
		return 0, errSetting.WithMessage("The app setting %s is a number from 1 to %d.", name, limit).WithTarget(name)
	}
	return n, nil
}

// setting finds a platform setting, whose name compares without regard to case.
func (s Site) setting(name string) secret.Text {
	if v, ok := s.Settings[name]; ok {
		return v
	}
	for have, v := range s.Settings {
		if strings.EqualFold(have, name) {
			return v
		}
	}
	return secret.Text{}
}

func (s Site) startLimit() time.Duration {
	seconds, _ := s.number(settingStartLimit, maxStartLimit) // checked when it was set
	return time.Duration(seconds) * time.Second
}
