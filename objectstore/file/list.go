package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leat-stream/leat/objectstore"
)

// List implements objectstore.Store, in the order of keys. It reads one folder at a time, and only those that can hold a key
// it looks for.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		l := lister{ctx: ctx, root: s.root, prefix: prefix, after: after, yield: yield}
		if err := l.folder(""); err != nil && !errors.Is(err, errBroken) {
			yield(objectstore.Info{}, fmt.Errorf("file: list %q: %w", prefix, err))
		}
	}
}

// errBroken says that the loop over the listing was broken off.
var errBroken = errors.New("listing broken off")

type lister struct {
	ctx           context.Context
	root          string
	prefix, after string
	yield         func(objectstore.Info, error) bool
}

// folder lists the keys below at, which is "" or ends with a slash.
func (l *lister) folder(at string) error {
	entries, err := os.ReadDir(filepath.Join(l.root, filepath.FromSlash(at)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return notFound(err)
	}
	names := make([]string, 0, len(entries)) // folders with a slash, so that they sort as the keys in them do
	for _, e := range entries {
		switch {
		case at == "" && e.Name() == reserved:
		case e.IsDir():
			names = append(names, e.Name()+"/")
		case e.Type().IsRegular():
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		key := at + name
		if strings.HasSuffix(key, "/") {
			err = l.descend(key)
		} else {
			err = l.file(key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// descend lists a folder if a key in it can match.
func (l *lister) descend(at string) error {
	if !strings.HasPrefix(at, l.prefix) && !strings.HasPrefix(l.prefix, at) {
		return nil
	}
	if at <= l.after && !strings.HasPrefix(l.after, at) {
		return nil
	}
	return l.folder(at)
}

func (l *lister) file(key string) error {
	if !strings.HasPrefix(key, l.prefix) || key <= l.after || objectstore.CheckKey(key) != nil {
		return nil
	}
	info, err := os.Lstat(filepath.Join(l.root, filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return notFound(err)
	}
	if !l.yield(objectstore.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil) {
		return errBroken
	}
	return nil
}
