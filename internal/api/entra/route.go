package entra

import "strings"

type kind uint8

const (
	kindToken         kind = iota
	kindConfiguration      // .well-known/openid-configuration
	kindKeys
	kindInstance
)

// route is what a path means.
type route struct {
	kind   kind
	adfs   bool
	v2     bool
	strict bool   // of a configuration: for those who verify tokens
	tenant string // as written; "" under /adfs when it is left out
}

// shared reports whether the tenant is one of the names that stand for any.
func (rt route) shared() bool {
	return equal(rt.tenant, "common") || equal(rt.tenant, "organizations")
}

// endpoints are the paths behind the authority.
func endpoints() map[string]route {
	return map[string]route{
		"oauth2/token":                          {kind: kindToken},
		"oauth2/v2.0/token":                     {kind: kindToken, v2: true},
		".well-known/openid-configuration":      {kind: kindConfiguration},
		"v2.0/.well-known/openid-configuration": {kind: kindConfiguration, v2: true},
		"discovery/v2.0/openid-configuration":   {kind: kindConfiguration, v2: true, strict: true},
		"discovery/keys":                        {kind: kindKeys},
		"discovery/v2.0/keys":                   {kind: kindKeys, v2: true},
		"discovery/instance":                    {kind: kindInstance},
	}
}

// parse reads a path: "[/adfs][/<tenant>]/<endpoint>", in any letter case and with any number of slashes. The tenant may
// be left out under /adfs only.
func parse(path string) (route, bool) {
	var segments []string
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "" {
			segments = append(segments, segment)
		}
	}
	adfs := len(segments) > 0 && equal(segments[0], "adfs")
	if adfs {
		segments = segments[1:]
		if rt, ok := endpoints()[endpoint(segments)]; ok {
			rt.adfs = true
			return rt, true
		}
	}
	if len(segments) < 2 {
		return route{}, false
	}
	rt, ok := endpoints()[endpoint(segments[1:])]
	rt.adfs, rt.tenant = adfs, segments[0]
	return rt, ok
}

func endpoint(segments []string) string { return strings.ToLower(strings.Join(segments, "/")) }

func equal(a, b string) bool { return strings.EqualFold(a, b) }

// hostOf gives the host, with its port, of an absolute URL without a path.
func hostOf(url string) string { return strings.TrimPrefix(url, "https://") }
