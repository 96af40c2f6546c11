//go:build linux

package server

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/secret"
)

// dataFormat is the version of the data directory's layout that this program writes.
const dataFormat = 1

// dataDir is an open data directory, locked by this process until Close.
//
//	format       version of this layout
//	lock         held (flock) while a Fairlead serves; holds its pid
//	origin.json  names, port, tenant and subscription, chosen at first start
//	keys/        sealing keys, one file a version; the certificate authority
//	fairlead.db  metadata
//	content/     blobs and uploads
//	compute/     containerd's root, networks, logs
//	ready.json   how to reach the server that runs now
type dataDir struct {
	path string
	lock *os.File
}

// Errors of opening a data directory.
var (
	errDataHeld     = fault.New(fault.Conflict, "DataHeld", "another Fairlead uses this data directory")
	errDataNewer    = fault.New(fault.Unsupported, "DataNewer", "the data directory was written by a newer Fairlead")
	errDataReadOnly = fault.New(fault.Unavailable, "DataNotWritable", "the data directory cannot be written")
	errDataForeign  = fault.New(fault.Conflict, "DataForeign", "the directory holds something that is not Fairlead's data")
)

// openData opens or makes the directory. It refuses one that is read-only, of a newer format, held by another process,
// or full of something else, each with the reason.
func openData(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, errDataReadOnly.WithMessage("the data directory %s cannot be made: %v", path, err).WithCause(err)
	}
	d := &dataDir{path: path}
	if err := d.checkFormat(); err != nil {
		return nil, err
	}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// checkFormat reads before anything is written, so that a foreign or newer directory stays untouched.
func (d *dataDir) checkFormat() error {
	text, err := os.ReadFile(d.file("format"))
	if errors.Is(err, os.ErrNotExist) {
		return d.checkEmpty()
	}
	if err != nil {
		return errDataReadOnly.WithMessage("the data directory %s cannot be read: %v", d.path, err).WithCause(err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return errDataForeign.WithMessage("%s does not hold a version number: this is not a data directory of Fairlead", d.file("format"))
	}
	if version > dataFormat {
		return errDataNewer.WithMessage("the data directory %s has format %d; this Fairlead knows formats up to %d: use the newer Fairlead, or another --data", d.path, version, dataFormat)
	}
	return nil
}

func (d *dataDir) checkEmpty() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return errDataReadOnly.WithMessage("the data directory %s cannot be read: %v", d.path, err).WithCause(err)
	}
	for _, e := range entries {
		// A start that was killed before it had written the format leaves its lock and perhaps half a file.
		if e.Name() != "lock" && e.Name() != "lost+found" && !strings.HasPrefix(e.Name(), ".format-") {
			return errDataForeign.WithMessage("%s holds %q and no file 'format': it is not a data directory of Fairlead; name an empty one with --data", d.path, e.Name())
		}
	}
	return nil
}

// acquire takes the lock. A lock file that a killed process left behind holds nothing: the kernel let go of it.
func (d *dataDir) acquire() error {
	lock, err := os.OpenFile(d.file("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return errDataReadOnly.WithMessage("the data directory %s cannot be written: %v", d.path, err).WithCause(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := holderOf(lock)
		_ = lock.Close()
		if holder == 0 {
			return errDataHeld.WithMessage("the data directory %s is held by a 'fairlead down' that is not done: wait for its end, or name another --data", d.path).WithCause(err)
		}
		return errDataHeld.WithMessage("the data directory %s is held by another Fairlead (pid %d): stop it with 'fairlead down --data %s', or name another --data",
			d.path, holder, d.path).WithCause(err)
	}
	d.lock = lock
	if err := lock.Truncate(0); err != nil {
		return errDataReadOnly.WithMessage("the data directory %s cannot be written: %v", d.path, err).WithCause(err)
	}
	_, err = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holderOf reads which server holds a lock that is held; 0 when it is none, but a Down.
func holderOf(lock *os.File) int {
	text := make([]byte, 32)
	n, _ := lock.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}

// prepare makes what is missing, the format first: with it the directory is ours, however far the rest comes.
func (d *dataDir) prepare() error {
	if _, err := os.Stat(d.file("format")); err != nil {
		if err := writeFile(d.file("format"), []byte(strconv.Itoa(dataFormat)+"\n"), 0o600); err != nil {
			return errDataReadOnly.WithMessage("the data directory %s cannot be written: %v", d.path, err).WithCause(err)
		}
	}
	for _, sub := range []string{"keys", "content", "compute"} {
		if err := os.MkdirAll(d.file(sub), 0o700); err != nil {
			return errDataReadOnly.WithMessage("the data directory %s cannot be written: %v", d.path, err).WithCause(err)
		}
	}
	return nil
}

func (d *dataDir) file(parts ...string) string {
	return filepath.Join(append([]string{d.path}, parts...)...)
}

// Close lets go of the lock.
func (d *dataDir) Close() error { return d.lock.Close() }

// writeFile replaces a file whole: a reader sees the old or the new one, also after a power cut.
func writeFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	write := func() error {
		if err := f.Chmod(mode); err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
		return f.Sync()
	}
	if err := errors.Join(write(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// makePrivate makes the file that SQLite is to fill, which would leave it to be read by everyone; its journals take after
// it. The directory itself may be one that others can look into.
func (d *dataDir) makePrivate(name string) error {
	f, err := os.OpenFile(d.file(name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

// sealer opens the sealing keys, making the first one at first start.
func (d *dataDir) sealer() (*secret.Sealer, error) {
	entries, err := filepath.Glob(d.file("keys", "seal-*"))
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		if _, err := os.Stat(d.file("fairlead.db")); err == nil {
			return nil, fmt.Errorf("there is no sealing key in %s, and without it what %s keeps sealed cannot be read: put the directory back from the same backup", d.file("keys"), d.file("fairlead.db"))
		}
		key := make([]byte, 32)
		_, _ = rand.Read(key)
		name := d.file("keys", "seal-1")
		if err := writeFile(name, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
			return nil, err
		}
		entries = []string{name}
	}
	keys := make(map[uint32][]byte, len(entries))
	for _, name := range entries {
		version, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(name), "seal-"), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("sealing key %s: its name does not end in a version number", name)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if keys[uint32(version)], err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err != nil {
			return nil, fmt.Errorf("sealing key %s is not base64", name)
		}
	}
	return secret.NewSealer(keys)
}

// stored is what first start chooses for good.
type stored struct {
	Domains      []string  `json:"domains"`
	Port         int       `json:"port"`
	Tenant       string    `json:"tenantId"`
	Subscription string    `json:"subscriptionId"`
	AdminApp     string    `json:"adminApplication,omitempty"` // object id of the administrator's application
	Containerd   string    `json:"containerd,omitempty"`       // socket of the one of others that the last start used: Down looks there
	Installation string    `json:"installation,omitempty"`     // tells our things on a cluster from another Fairlead's
	Kubeconfig   string    `json:"kubeconfig,omitempty"`       // of the cluster that the last start used: Down looks there
	Context      string    `json:"context,omitempty"`          // of that
	Created      time.Time `json:"created"`
}

func (d *dataDir) readStored() (stored, error) {
	var s stored
	text, err := os.ReadFile(d.file("origin.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s is not what Fairlead wrote: %w", d.file("origin.json"), err)
	}
	return s, nil
}

func (d *dataDir) writeStored(s stored) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if have, err := os.ReadFile(d.file("origin.json")); err == nil && bytes.Equal(have, text) {
		return nil // a full disk keeps nobody from starting who has nothing to write
	}
	return writeFile(d.file("origin.json"), text, 0o600)
}
