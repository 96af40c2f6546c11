package fault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

var errNamed = New(NotFound, "THING_UNKNOWN", "there is no such thing")

func TestCopiesMatchTheirOriginal(t *testing.T) {
	cause := errors.New("row 7 is missing")
	err := fmt.Errorf("looking up: %w", errNamed.WithMessage("there is no thing called %q", "x").WithTarget("name").WithCause(cause))
	if !errors.Is(err, errNamed) || !errors.Is(err, cause) {
		t.Fatalf("%v matches neither its original nor its cause", err)
	}
	if errors.Is(err, New(Invalid, "THING_UNKNOWN", "")) {
		t.Error("a fault of another kind matches")
	}
	if f := From(err); f.Target != "name" || f.Message != `there is no thing called "x"` {
		t.Errorf("got %+v", f)
	}
	if errNamed.Target != "" || errNamed.Unwrap() != nil {
		t.Error("the original was changed")
	}
}

func TestUnknownErrorsShowNothing(t *testing.T) {
	f := From(errors.New("password is hunter2"))
	if f.Kind != Internal || strings.Contains(f.Message, "hunter2") {
		t.Fatalf("got %+v", f)
	}
	if !strings.Contains(f.Error(), "hunter2") {
		t.Error("the log does not get the cause")
	}
}

func TestNil(t *testing.T) {
	if From(nil) != nil || KindOf(nil) != Internal {
		t.Fatal("nil is no fault, and of no kind that a caller may see")
	}
}
