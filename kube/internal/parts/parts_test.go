package parts

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func untilEnd(ctx context.Context) error { <-ctx.Done(); return nil }

// TestOneEndEndsAll has one part fail: the other hears it, and the group says which it was.
func TestOneEndEndsAll(t *testing.T) {
	g := New(t.Context())
	broken := errors.New("no disk")
	g.Start("steady", untilEnd)
	g.Start("the datastore", func(context.Context) error { return broken })
	if err := g.Err(); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "the datastore ended") {
		t.Errorf("got %v", err)
	}
	g.Close(0)
}

func TestToldToEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := New(ctx)
	g.Start("steady", untilEnd)
	cancel()
	if err := g.Err(); err != nil {
		t.Error(err)
	}
	g.Close(0)
}

// TestKept has a part fail twice that the others can do without.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(t.Context())
		starts, began := 0, time.Now()
		steady := make(chan struct{})
		g.Keep("cluster DNS", func(ctx context.Context) error {
			if starts++; starts < 3 {
				return errors.New("the port is taken")
			}
			close(steady)
			return untilEnd(ctx)
		})
		<-steady
		if g.Context().Err() != nil {
			t.Error("the group ended with the part")
		}
		if waited := time.Since(began); waited != 3*shortest {
			t.Errorf("it was started the third time after %s", waited)
		}
		g.Close(0)
	})
}

// TestCloseLeavesWhatDoesNotHear has a part that never ends by itself.
func TestCloseLeavesWhatDoesNotHear(t *testing.T) {
	release := make(chan struct{})
	g := New(t.Context())
	g.Start("deaf", func(context.Context) error { <-release; return nil })
	g.Close(time.Millisecond)
	if g.Context().Err() == nil {
		t.Error("the group goes on")
	}
	close(release)
}
