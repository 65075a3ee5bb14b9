package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/leat-stream/leat/objectstore"
)

// Put implements objectstore.Store. Until the object has its name every failure is ErrNotApplied; a failure to sync the name
// afterwards is ambiguous.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	version, err := s.put(ctx, key, body, c)
	if err != nil {
		return "", fmt.Errorf("file: put %q: %w", key, err)
	}
	return version, nil
}

func (s *Store) put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	path, err := s.path(key)
	if err != nil {
		return "", err
	}
	temp, version, err := s.write(ctx, body)
	if err != nil {
		return "", notApplied(err)
	}
	defer func() { _ = os.Remove(temp) }() // gone already after a rename

	if c.Absent() {
		err = s.create(ctx, temp, path)
	} else {
		err = s.replace(ctx, temp, path, c)
	}
	if err != nil {
		return "", err
	}
	return version, nil
}

// notApplied marks an error that came before the object had its name.
func notApplied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w: %w", objectstore.ErrNotApplied, objectstore.ErrDenied, err)
	}
	return fmt.Errorf("%w: %w", objectstore.ErrNotApplied, err)
}

// write puts the body into a temporary file and on the disk. The time of change gets random nanoseconds, so that no two
// contents of a key share a version even if the file system's clock is coarse and gives inodes out again.
func (s *Store) write(ctx context.Context, body objectstore.Body) (path string, v objectstore.Version, err error) {
	if err := ctx.Err(); err != nil {
		return "", "", err
	}
	path = filepath.Join(s.temp, strconv.FormatUint(s.next.Add(1), 10))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return "", "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	for _, part := range body.Parts() {
		if _, err := f.Write(part); err != nil {
			return "", "", err
		}
		if err := ctx.Err(); err != nil {
			return "", "", err
		}
	}
	stamp := time.Unix(time.Now().Unix(), randomNanos())
	if err := os.Chtimes(path, stamp, stamp); err != nil {
		return "", "", err
	}
	if err := f.Sync(); err != nil {
		return "", "", err
	}
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	v, err = versionOf(f, info)
	return path, v, err
}

// create gives the temporary file its name unless the name is taken: link(2) has exactly one winner. The loser syncs the folder
// too: what it is about to read and believe must survive a power cut even if the winner has not come to its own sync yet.
func (s *Store) create(ctx context.Context, temp, path string) error {
	dir := filepath.Dir(path)
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return notApplied(err)
		}
		err := s.makeDirs(dir)
		if err == nil {
			err = os.Link(temp, path)
		}
		switch {
		case err == nil:
			return syncDir(dir)
		case errors.Is(err, fs.ErrExist):
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				return notApplied(errors.New("other keys lie below this one"))
			}
			return errors.Join(objectstore.ErrLost, syncDir(dir))
		case errors.Is(err, fs.ErrNotExist) && attempt < maxAttempts:
			s.forget() // a Delete removed the empty folder in between: once more
		default:
			return notApplied(err)
		}
	}
}

// maxAttempts is how often a Put makes its folder again because Deletes keep removing it; beyond that it fails.
const maxAttempts = 100

// replace renames the temporary file to its name while it holds the folder's lock, under which nothing else can replace or
// remove what it has compared.
func (s *Store) replace(ctx context.Context, temp, path string, c objectstore.Condition) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return notApplied(err)
	}
	defer unlock()
	dir := filepath.Dir(path)
	if want, conditional := c.Match(); conditional {
		have, err := current(path)
		if err != nil {
			return notApplied(err)
		}
		if have != want {
			return objectstore.ErrLost
		}
	} else if err := s.makeDirs(dir); err != nil {
		return notApplied(err)
	}
	if err := os.Rename(temp, path); err != nil {
		return notApplied(err)
	}
	return syncDir(dir)
}

// current answers the version of the object at path, or "" if there is none.
func current(path string) (objectstore.Version, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(notFound(err), objectstore.ErrNotFound) {
			return "", nil
		}
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	return versionOf(f, info)
}

// Delete implements objectstore.Store. A folder that becomes empty goes too: owners of segments come and go.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	paths := make([]string, len(keys))
	for i, key := range keys {
		var err error
		if paths[i], err = s.path(key); err != nil {
			return fmt.Errorf("file: delete %q: %w", key, err)
		}
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return fmt.Errorf("file: delete %q: %w", keys[0], notApplied(err))
	}
	defer unlock()
	for i, path := range paths {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("file: delete %q: %w", keys[i], err)
		}
		if err := s.remove(path); err != nil {
			return fmt.Errorf("file: delete %q: %w", keys[i], err)
		}
	}
	return nil
}

// remove unlinks one object. It is not synced: a delete may land late.
func (s *Store) remove(path string) error {
	err := syscall.Unlink(path) // os.Remove would remove a folder, too
	if err != nil {
		switch info, statErr := os.Lstat(path); {
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
			return nil
		case statErr == nil && info.IsDir():
			return nil // other keys lie below; there is no such object
		}
		return notFound(&fs.PathError{Op: "unlink", Path: path, Err: err})
	}
	if dir := filepath.Dir(path); dir != s.root && syscall.Rmdir(dir) == nil {
		s.forget()
	}
	return nil
}

// makeDirs makes sure that dir, and all between it and the root, exist and that their names are on the disk. A Delete may
// remove them again meanwhile: then it fails with fs.ErrNotExist.
func (s *Store) makeDirs(dir string) error {
	if dir == s.root || s.isKnown(dir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := s.makeDirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w", dir, syscall.ENOTDIR)
	}
	if err := syncDir(parent); err != nil { // also if another made dir: it may not have come to its own sync
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[dir] = inode(info)
	return nil
}

// isKnown reports whether dir is the very folder that was found durable before.
func (s *Store) isKnown(dir string) bool {
	s.mu.Lock()
	ino, ok := s.known[dir]
	s.mu.Unlock()
	if !ok {
		return false
	}
	info, err := os.Stat(dir)
	return err == nil && info.IsDir() && inode(info) == ino
}

// forget has all folders looked at, and synced, once more.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

// syncDir puts the names in a folder on the disk. A folder that is gone has none.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
