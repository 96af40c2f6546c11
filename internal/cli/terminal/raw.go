package terminal

import "golang.org/x/term"

// Size gives the rows and columns of the terminal behind Out; zeros when there is none.
func (s Streams) Size() (rows, columns int) {
	f, ok := fileOf(s.Out)
	if !ok {
		return 0, 0
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return rows, columns
}

// Raw puts the terminal behind In into raw mode, so that every key reaches the other side. The function it returns
// puts it back and must be called.
func (s Streams) Raw() (restore func(), err error) {
	f, ok := fileOf(s.In)
	if !ok || !IsTerminal(f) {
		return func() {}, nil
	}
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }, nil
}
