// Package file is the object store in a folder: each object is a plain file whose path is its key.
//
// It keeps the contract of a bucket through every crash, of the process and of the machine, and between processes that
// share the folder:
//
//	write .leat-tmp/<process>/<n> ─► fsync ─► link(2) or rename(2) to the key ─► fsync of its folder, and of new ones above
//
// A reader therefore sees no object or a whole one, link(2) has one winner, and what was answered is on the disk. IfVersion
// compares and renames while it holds flock(2) on .leat-tmp/lock, as do all that replace or remove; link(2) needs no lock,
// because it only ever adds. Each process owns one folder for its temporary files, whose lock file it holds as long as it
// lives; New sweeps those that nobody holds.
//
// It must never change a file in place, follow a key out of its folder, or answer before the disk has it. A key cannot also
// be the folder of another ("a" beside "a/b"): the second of them is refused, with ErrNotApplied.
package file

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/leat-stream/leat/objectstore"
)

// reserved is the first part of every name that is the driver's own; keys that begin with it are refused.
const reserved = ".leat-tmp"

// Store is an object store in a folder. Make it with New. All fields but known and next are set once.
type Store struct {
	root  string
	temp  string        // this process's folder for temporary files, below root/reserved
	alive *os.File      // lock file in temp, held as long as the Store lives: others must not sweep temp
	turn  chan struct{} // holds one token while a goroutine of this Store wants or has the folder's lock
	next  atomic.Uint64 // names of temporary files

	mu    sync.Mutex
	known map[string]uint64 // folders, and their inodes, whose own names are on the disk; bounded by maxKnown; guarded by mu
}

// maxKnown folders are remembered as durable; beyond it all are forgotten, and cost an fsync each once more.
const maxKnown = 4096

var _ objectstore.Store = (*Store)(nil)

// New opens the store in folder dir, creating it (and the folders above it) if need be, and sweeps temporary files left by
// processes that died.
func New(dir string) (*Store, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("file store %s: %w", dir, err)
	}
	s := &Store{root: root, turn: make(chan struct{}, 1), known: make(map[string]uint64)}
	if err := makeRoot(filepath.Join(root, reserved)); err != nil {
		return nil, fmt.Errorf("file store %s: %w", dir, err)
	}
	if err := s.settle(); err != nil {
		return nil, fmt.Errorf("file store %s: %w", dir, err)
	}
	return s, nil
}

// makeRoot creates dir and what is missing above it, durably.
func makeRoot(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeRoot(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// Close gives back the folder for temporary files. Nothing may use the Store afterwards. A process that just ends needs no
// Close: its leftovers are swept by whoever opens the folder next.
func (s *Store) Close() error {
	err := os.RemoveAll(s.temp)
	return errors.Join(err, s.alive.Close())
}

// path answers the file of a key, which CheckKey has kept from leaving the folder.
func (s *Store) path(key string) (string, error) {
	if err := objectstore.CheckKey(key); err != nil {
		return "", err
	}
	if first, _, _ := strings.Cut(key, "/"); first == reserved {
		return "", fmt.Errorf("%w: %w: %q is the driver's own folder", objectstore.ErrNotApplied, objectstore.ErrKey, reserved)
	}
	return filepath.Join(s.root, filepath.FromSlash(key)), nil
}

// Get implements objectstore.Store. The opened file stays whole even if its key is replaced or deleted meanwhile.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	o, err := s.get(ctx, key, r)
	if err != nil {
		return objectstore.Object{}, fmt.Errorf("file: get %q: %w", key, err)
	}
	return o, nil
}

func (s *Store) get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	path, err := s.path(key)
	if err != nil {
		return objectstore.Object{}, err
	}
	if err := ctx.Err(); err != nil {
		return objectstore.Object{}, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return objectstore.Object{}, notFound(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = objectstore.ErrNotFound
	}
	if err != nil {
		return objectstore.Object{}, errors.Join(err, f.Close())
	}
	offset, length, err := r.In(info.Size())
	if err != nil {
		return objectstore.Object{}, errors.Join(err, f.Close())
	}
	version, err := versionOf(f, info)
	if err != nil {
		return objectstore.Object{}, errors.Join(err, f.Close())
	}
	return objectstore.Object{
		Reader:  &reader{ctx: ctx, file: f, at: offset, end: offset + length},
		Size:    info.Size(),
		Version: version,
	}, nil
}

// notFound tells the errors that mean "no such object" from those of the disk.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) {
		return objectstore.ErrNotFound // ELOOP: a symbolic link is no object
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", objectstore.ErrDenied, err)
	}
	return err
}

// reader reads a range of a file and ends with the context that opened it, as a connection would.
type reader struct {
	ctx     context.Context
	file    *os.File
	at, end int64
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.at == r.end {
		return 0, io.EOF
	}
	if int64(len(p)) > r.end-r.at {
		p = p[:r.end-r.at]
	}
	n, err := r.file.ReadAt(p, r.at)
	r.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if n < len(p) { // somebody cut the file: objects never shrink
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

func (r *reader) Close() error { return r.file.Close() }

// hashed is how much of an object goes into its version; what is replaced by compare-and-swap is far smaller.
const hashed = 64 << 10

// versionOf hashes size, inode, time of change (whose nanoseconds are random, see write) and the first bytes of a file: two
// contents of a key never share it by accident, and reading a range of a large object does not read all of it.
func versionOf(f *os.File, info fs.FileInfo) (objectstore.Version, error) {
	h := sha256.New()
	var stat [24]byte
	binary.BigEndian.PutUint64(stat[0:], uint64(info.Size()))
	binary.BigEndian.PutUint64(stat[8:], inode(info))
	binary.BigEndian.PutUint64(stat[16:], uint64(info.ModTime().UnixNano()))
	h.Write(stat[:])
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, min(hashed, info.Size()))); err != nil {
		return "", err
	}
	return objectstore.Version(hex.EncodeToString(h.Sum(nil)[:16])), nil
}

func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Ino)
	}
	return 0
}

// randomNanos answers a random number below 1e9.
func randomNanos() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:]) % 1e9)
}
