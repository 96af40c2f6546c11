package apitest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Golden compares an answer with testdata/<name>.golden: its status, those headers that are part of the protocol, and its
// body, in which GUIDs other than the tenant's are numbered and moments of the wall clock and tokens are blanked out.
func Golden(t *testing.T, name string, got *httptest.ResponseRecorder) {
	t.Helper()
	text := show(t, got)
	path := filepath.Join("testdata", name+".golden")
	if *update {
		Must(t, os.WriteFile(path, text, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run the test with -update to make it)", err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", name, diff)
	}
}

// show writes an answer for people.
func show(t *testing.T, r *httptest.ResponseRecorder) []byte {
	t.Helper()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%d %s\n", r.Code, http.StatusText(r.Code))
	for _, name := range []string{"Allow", "Cache-Control", "Content-Type", "Docker-Distribution-Api-Version", "Www-Authenticate"} {
		if v := r.Header().Get(name); v != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, v)
		}
	}
	out.WriteByte('\n')
	if r.Body.Len() > 0 {
		if err := json.Indent(&out, bytes.TrimSpace(r.Body.Bytes()), "", "  "); err != nil {
			t.Errorf("the body is not JSON: %q", r.Body)
		}
		out.WriteByte('\n')
	}
	return []byte(settle(out.String()))
}

// settle takes out what differs from run to run.
func settle(s string) string {
	var seen []string
	s = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`).ReplaceAllStringFunc(s, func(id string) string {
		if id == Tenant || strings.HasPrefix(id, "00000000-") {
			return id
		}
		if !slices.Contains(seen, id) {
			seen = append(seen, id)
		}
		return fmt.Sprintf("<guid %d>", slices.Index(seen, id)+1)
	})
	s = regexp.MustCompile(`"date": "[^"]*"`).ReplaceAllString(s, `"date": "<now>"`)
	s = regexp.MustCompile(`"(secretText|hint)": "[^"]*"`).ReplaceAllString(s, `"$1": "<secret>"`)
	return regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`).ReplaceAllString(s, "<token>")
}
