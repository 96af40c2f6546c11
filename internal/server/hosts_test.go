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
	block := HostsBlockOf("/data/one")
	write := func(block HostsBlock, text, want string) {
		t.Helper()
		if err := block.Write(path, text); err != nil {
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
	put := func(text, want string) {
		t.Helper()
		write(block, text, want)
	}
	one := block.Text("127.0.0.1", []string{"b.test", "a.test", "b.test"})
	if strings.Count(one, "b.test") != 1 || strings.Index(one, "a.test") > strings.Index(one, "b.test") {
		t.Fatalf("names are not sorted and single: %q", one)
	}
	put(one, before+"\n"+one)
	put(one, before+"\n"+one)
	two := block.Text("127.0.0.1", []string{"c.test"})
	put(two, before+"\n"+two)
	neighbour := HostsBlockOf("/data/one-more")
	other := neighbour.Text("127.0.0.1", []string{"d.test"})
	write(neighbour, other, before+"\n"+two+other)
	put("", before+"\n"+other)
	put(one, before+"\n"+other+one)
	write(neighbour, "", before+"\n"+one)
	put("", before+"\n")
	put("", before+"\n")
}

func TestHostsBlockKeepsWhatFollows(t *testing.T) {
	block := HostsBlockOf("/data")
	got, err := block.replace("a\n"+block.Text("127.0.0.1", []string{"x.test"})+"b\n", "")
	if err != nil || got != "a\nb\n" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestHostsBlockWithoutEndIsRefused(t *testing.T) {
	block := HostsBlockOf("/data")
	if _, err := block.replace("a\n"+block.begin+"\n127.0.0.1 x\n", "new"); err == nil {
		t.Fatal("a block without its end was replaced")
	}
}
