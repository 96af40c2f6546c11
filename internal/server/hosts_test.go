package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostsBlockIsPutReplacedAndRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	before := "127.0.0.1 localhost\n10.0.0.7 mine" // no newline at the end, as people leave it
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	put := func(block, want string) {
		t.Helper()
		if err := WriteHosts(path, block); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	one := HostsBlock("127.0.0.1", []string{"b.test", "a.test", "b.test"})
	if strings.Count(one, "b.test") != 1 || strings.Index(one, "a.test") > strings.Index(one, "b.test") {
		t.Fatalf("names are not sorted and single: %q", one)
	}
	put(one, before+"\n"+one)
	put(one, before+"\n"+one)
	two := HostsBlock("127.0.0.1", []string{"c.test"})
	put(two, before+"\n"+two)
	put("", before+"\n")
	put("", before+"\n")
}

func TestHostsBlockKeepsWhatFollows(t *testing.T) {
	text := "a\n" + HostsBlock("127.0.0.1", []string{"x.test"}) + "b\n"
	got, err := replaceBlock(text, "")
	if err != nil || got != "a\nb\n" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestHostsBlockWithoutEndIsRefused(t *testing.T) {
	if _, err := replaceBlock("a\n"+hostsBegin+"\n127.0.0.1 x\n", "new"); err == nil {
		t.Fatal("a block without its end was replaced")
	}
}
