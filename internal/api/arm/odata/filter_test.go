package odata_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/internal/api/arm/odata"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []odata.Term
	}{
		{"", nil},
		{"atScope()", []odata.Term{{Name: "atScope", Call: true}}},
		{"roleName eq 'AcrPull'", []odata.Term{{Name: "roleName", Value: "AcrPull"}}},
		{" name eq 'it''s' ", []odata.Term{{Name: "name", Value: "it's"}}},
		{
			"resourceType eq 'A/b' and resourceGroup EQ 'g'",
			[]odata.Term{{Name: "resourceType", Value: "A/b"}, {Name: "resourceGroup", Value: "g"}},
		},
		{"atScope() and assignedTo('1-2')", []odata.Term{{Name: "atScope", Call: true}, {Name: "assignedTo", Call: true, Args: []string{"1-2"}}}},
		{"f('a', b)", []odata.Term{{Name: "f", Call: true, Args: []string{"a", "b"}}}},
	} {
		got, err := odata.Parse(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{"a", "a eq", "a eq 'b", "a ne 'b'", "a eq 'b' or c eq 'd'", "f(", "f('a' 'b')", "eq", "a eq 'b' and", strings.Repeat("a", 5000)} {
		if got, err := odata.Parse(in); !errors.Is(err, odata.ErrFilter) {
			t.Errorf("%q gave %v, %v", in, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("atScope() and principalId eq 'x''y'")
	f.Fuzz(func(t *testing.T, in string) {
		terms, err := odata.Parse(in)
		if err != nil && !errors.Is(err, odata.ErrFilter) {
			t.Fatal(err)
		}
		for _, term := range terms {
			if term.Name == "" {
				t.Fatalf("%q has a term without a name", in)
			}
		}
	})
}
