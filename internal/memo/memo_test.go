package memo_test

import (
	"errors"
	"sync"
	"testing"

	"fairlead.dev/internal/memo"
)

func TestMemoForgetsWithTheVersion(t *testing.T) {
	m := memo.New[string, int](10)
	loads := 0
	get := func(version int64) int {
		v, err := m.Get(version, "k", func() (int, error) { loads++; return loads, nil })
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, step := range []struct{ version, want int }{{1, 1}, {1, 1}, {2, 2}, {2, 2}, {1, 3}, {2, 2}} {
		if got := get(int64(step.version)); got != step.want {
			t.Errorf("under version %d: %d, want %d", step.version, got, step.want)
		}
	}
}

func TestMemoDoesNotRememberErrors(t *testing.T) {
	m := memo.New[string, int](10)
	bad := errors.New("bad")
	if _, err := m.Get(1, "k", func() (int, error) { return 0, bad }); !errors.Is(err, bad) {
		t.Errorf("error is %v", err)
	}
	if v, err := m.Get(1, "k", func() (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
}

func TestMemoBeginsAnewWhenFull(t *testing.T) {
	m := memo.New[int, int](4)
	loads := 0
	for range 3 {
		for k := range 6 {
			if v, _ := m.Get(1, k, func() (int, error) { loads++; return k, nil }); v != k {
				t.Fatalf("key %d gives %d", k, v)
			}
		}
	}
	if loads <= 6 || loads > 18 {
		t.Errorf("%d loads for 6 keys asked 3 times with room for 4", loads)
	}
}

// TestMemoNeverGivesWhatIsStale has a writer change a value and move the version, as a store does, while readers ask.
func TestMemoNeverGivesWhatIsStale(t *testing.T) {
	m := memo.New[string, int64](10)
	var mu sync.RWMutex
	var truth int64 // the value and its version at once
	read := func() int64 { mu.RLock(); defer mu.RUnlock(); return truth }
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				version := read()
				if v, _ := m.Get(version, "k", func() (int64, error) { return read(), nil }); v < version {
					t.Errorf("under version %d the memo gives %d", version, v)
				}
			}
		})
	}
	for range 500 {
		mu.Lock()
		truth++
		mu.Unlock()
	}
	wg.Wait()
}
