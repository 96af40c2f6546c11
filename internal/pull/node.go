package pull

import (
	"context"
	"io"

	"fairlead.dev/internal/content"
)

// Node stores content on the machine where it is to run. pulltest.Node is its contract as tests.
type Node interface {
	// Begin opens a session; name is unique. Everything that the session finds or writes stays until End.
	Begin(ctx context.Context, name string) (Session, error)
}

// Session is one pull's hold on the node. Its methods may be called by several goroutines at once. A method that finds
// the node full returns ErrNoSpace, or an error that wraps syscall.ENOSPC.
type Session interface {
	// Has reports whether the node has the content whole, and if so keeps it until End. Only Digest and, when it is not
	// 0, Size of the descriptor count, here and in Open.
	Has(ctx context.Context, d content.Descriptor) (bool, error)
	// Write begins to store content, from its first byte. Two sessions may write the same at once.
	Write(ctx context.Context, d content.Descriptor) (Writer, error)
	// Open reads content; ErrNotOnNode.
	Open(ctx context.Context, d content.Descriptor) (io.ReadCloser, error)
	// Unpack makes the file system of all layers, bottom first, of those that are not unpacked yet, calling progress with
	// the index of each when it is there (also of one that was before). ErrMismatch when a layer unpacked has not its
	// DiffID; ErrTooBig beyond a limit; ErrNotOnNode when a layer that has to be unpacked was not written.
	Unpack(ctx context.Context, layers []Layer, progress func(layer int)) error
	// Pin keeps an image on the node beyond End: its manifest target, which was written, with the config and layers that
	// it names, unpacked. ref is the image's name on the node, "host/repository@digest".
	Pin(ctx context.Context, ref string, target content.Descriptor) error
	// End lets go of what is not pinned. It is called once, and must work when the pull's own context has ended.
	End(ctx context.Context) error
}

// Writer stores one piece of content. It belongs to one goroutine.
type Writer interface {
	io.Writer
	// Commit verifies size and digest of what was written and makes it durable and visible; ErrMismatch, after which
	// nothing of it is left. Content that another session committed meanwhile is no error.
	Commit(ctx context.Context) error
	// Close drops what was not committed. It is called always, also after Commit.
	Close() error
}
