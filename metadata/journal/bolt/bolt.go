// Package bolt is the journal in a bbolt file: the embedded default of a single agent beside a bucket that is a folder.
//
// One process has the file at a time. Each append is one transaction, on disk before it is answered. The truth is then in
// this file and not in the bucket, which is why object.Bind ties the two together. The package must never be used beside
// a remote bucket: whoever loses the file loses the cluster.
package bolt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"

	bolterrors "go.etcd.io/bbolt/errors"

	"go.etcd.io/bbolt"

	"github.com/leat-stream/leat/metadata/journal"
)

// The file has two bbolt buckets: "journal" maps index (8 bytes, big-endian) to an encoded entry; "meta" holds the encoded
// head and, once the object store's head names this file, under the key "bound" the id in that head.
var (
	entriesName = []byte("journal")
	metaName    = []byte("meta")
	headKey     = []byte("head")
	boundKey    = []byte("bound")
)

// fillPercent: entries are only ever added at the end, so pages may be filled almost whole.
const fillPercent = 0.95

// Journal is an open journal file. It implements journal.Journal.
//
// mu orders the writers: Lead, Append and Trim hold it over their transaction, so that term and failed tell the truth
// about what is in the file. Readers rely on bbolt's own isolation and take mu only to look at failed.
type Journal struct {
	db   *bbolt.DB
	path string

	mu     sync.Mutex
	term   journal.TermID // that may append; zero: none
	failed error          // of a transaction that may or may not be on disk; the file must be opened anew
}

var _ journal.Journal = (*Journal)(nil)

// Open opens the journal file at path, or makes one with a fresh cluster id if there is none. ErrInUse, at once, if another
// process has it; ErrNoHead if the file is a bbolt file, but not a journal; ErrCorrupt if it is not a bbolt file.
func Open(path string) (*Journal, error) {
	if err := makeDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("make folder of journal file: %w", err)
	}
	// The smallest timeout makes bbolt try its lock once instead of waiting for ever.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 1, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: %w: with --journal bolt a bucket is served by one agent; several need --journal bucket: or etcd:", path, journal.ErrInUse)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open %s: %w: %w", path, journal.ErrCorrupt, err)
	case err != nil:
		return nil, fmt.Errorf("open journal file: %w", err)
	}
	j := &Journal{db: db, path: path}
	if err := j.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return j, nil
}

// prepare writes the head of a file that has nothing in it, or checks the one that is there.
func (j *Journal) prepare() error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		if first, _ := tx.Cursor().First(); first != nil {
			_, err := readHead(tx)
			return err
		}
		meta, err := tx.CreateBucket(metaName)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(entriesName); err != nil {
			return err
		}
		h := journal.Head{Format: journal.Level, Driver: journal.DriverBolt}
		rand.Read(h.Cluster[:])
		return meta.Put(headKey, journal.EncodeHead(h))
	})
	// bbolt has synced the file, but not the folder that names it. That the file is there already does not help: whoever made it
	// may have been killed just before this.
	if err == nil {
		err = syncDir(filepath.Dir(j.path))
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", j.path, err)
	}
	return nil
}

// makeDir makes a folder and what is missing above it, durably: a power cut must not take the journal with its folder.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// syncDir puts the names in a folder on the disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close gives the file back. No other method may be running or be called afterwards.
func (j *Journal) Close() error { return j.db.Close() }

// readHead answers the head; ErrNoHead without one (J6).
func readHead(tx *bbolt.Tx) (journal.Head, error) {
	meta := tx.Bucket(metaName)
	if meta == nil || tx.Bucket(entriesName) == nil {
		return journal.Head{}, journal.ErrNoHead
	}
	b := meta.Get(headKey)
	if b == nil {
		return journal.Head{}, journal.ErrNoHead
	}
	h, err := journal.DecodeHead(b)
	if err == nil && h.Driver != journal.DriverBolt {
		err = fmt.Errorf("%w: the file holds a head of driver %s", journal.ErrMismatch, h.Driver)
	}
	return h, err
}

// view runs fn on a consistent view of the file, with its head.
func (j *Journal) view(ctx context.Context, fn func(tx *bbolt.Tx, h journal.Head) error) error {
	if err := j.usable(ctx); err != nil {
		return err
	}
	return j.db.View(func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		if err != nil {
			return err
		}
		return fn(tx, h)
	})
}

// usable answers why the file cannot be read, if so. After a transaction that failed to sync, what memory shows is not what
// is on disk: showing it to a replica could apply an entry that the next start does not find.
func (j *Journal) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}

// update runs fn in a transaction that is on disk when it returns. j.mu is held. refused tells that fn itself failed, so
// that nothing was written; any other error leaves the journal unusable.
func (j *Journal) update(fn func(tx *bbolt.Tx, h journal.Head) error) (refused bool, err error) {
	if j.failed != nil {
		return true, j.failed
	}
	err = j.db.Update(func(tx *bbolt.Tx) error {
		h, err := readHead(tx)
		if err == nil {
			err = fn(tx, h)
		}
		refused = err != nil
		return err
	})
	if err != nil && !refused {
		j.failed = fmt.Errorf("%s must be opened anew, a write to it failed: %w", j.path, err)
		err = j.failed
	}
	return refused, err
}

// Head implements journal.Journal.
func (j *Journal) Head(ctx context.Context) (head journal.Head, err error) {
	err = j.view(ctx, func(_ *bbolt.Tx, h journal.Head) error { head = h; return nil })
	if err != nil {
		return journal.Head{}, fmt.Errorf("read head: %w", err)
	}
	return head, nil
}

// readRun bounds how many entries, and readBytes after how many bytes, one transaction of Read takes: an open transaction
// keeps pages of the file from being reused, and a caller may take its time.
const (
	readRun   = 64
	readBytes = 4 << 20
)

// Read implements journal.Journal.
func (j *Journal) Read(ctx context.Context, from uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		for next := from; ; {
			run, end, err := j.run(ctx, next)
			for _, e := range run {
				if !yield(e, nil) {
					return
				}
			}
			next += uint64(len(run))
			if err != nil {
				yield(journal.Entry{}, fmt.Errorf("read entry %d: %w", next, err))
				return
			}
			if end {
				return
			}
		}
	}
}

// run answers some consecutive entries from index from on, whether the journal ended after them, and what was wrong with the one
// that would have followed.
func (j *Journal) run(ctx context.Context, from uint64) (run []journal.Entry, end bool, err error) {
	err = j.view(ctx, func(tx *bbolt.Tx, h journal.Head) error {
		if from == 0 || from < h.Boundary {
			return journal.ErrTrimmed
		}
		c, size := tx.Bucket(entriesName).Cursor(), 0
		for k, v := c.Seek(key(from)); len(run) < readRun && size < readBytes; k, v = c.Next() {
			if k == nil {
				end = true
				return nil
			}
			index := from + uint64(len(run))
			if len(k) != 8 || binary.BigEndian.Uint64(k) != index {
				return fmt.Errorf("entry %d: %w: it is missing, and later ones are there", index, journal.ErrCorrupt)
			}
			e, err := journal.DecodeEntry(append([]byte(nil), v...), h.Cluster, index)
			if err != nil {
				return err
			}
			run, size = append(run, e), size+len(v)
		}
		return nil
	})
	return run, end, err
}

// Lead implements journal.Journal.
func (j *Journal) Lead(ctx context.Context, after uint64, body []byte) (journal.Term, error) {
	e := journal.Entry{Index: after + 1, Kind: journal.KindFence, Body: body}
	rand.Read(e.Term[:])
	j.mu.Lock()
	defer j.mu.Unlock()
	err := ctx.Err()
	if err == nil {
		_, err = j.update(func(tx *bbolt.Tx, h journal.Head) error {
			if err := at(tx, h, after); err != nil {
				return err
			}
			return put(tx, h, e)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("lead after %d: %w", after, err)
	}
	j.term = e.Term
	return &term{journal: j, fence: e, last: e.Index}, nil
}

// at tells how applied stands to the end of the journal.
func at(tx *bbolt.Tx, h journal.Head, applied uint64) error {
	last := uint64(0)
	if k, _ := tx.Bucket(entriesName).Cursor().Last(); len(k) == 8 {
		last = binary.BigEndian.Uint64(k)
	}
	last = max(last, h.Snapshot) // all entries may be trimmed
	switch {
	case applied+1 < h.Boundary:
		return journal.ErrTrimmed
	case applied < last:
		return journal.ErrBehind
	case applied > last:
		return fmt.Errorf("%w: the journal ends at %d", journal.ErrCorrupt, last)
	}
	return nil
}

func put(tx *bbolt.Tx, h journal.Head, e journal.Entry) error {
	b, err := journal.EncodeEntry(h.Cluster, e)
	if err != nil {
		return err
	}
	entries := tx.Bucket(entriesName)
	entries.FillPercent = fillPercent
	return entries.Put(key(e.Index), b)
}

func key(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// Tip implements journal.Journal.
func (j *Journal) Tip(ctx context.Context, applied uint64) error {
	err := j.view(ctx, func(tx *bbolt.Tx, h journal.Head) error { return at(tx, h, applied) })
	if err != nil {
		return fmt.Errorf("tip at %d: %w", applied, err)
	}
	return nil
}

// Trim implements journal.Journal.
func (j *Journal) Trim(ctx context.Context, t journal.Trim) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := ctx.Err()
	if err == nil {
		_, err = j.update(func(tx *bbolt.Tx, h journal.Head) error { return trim(tx, h, t) })
	}
	if err != nil {
		return fmt.Errorf("trim to %d: %w", t.Boundary, err)
	}
	return nil
}

func trim(tx *bbolt.Tx, h journal.Head, t journal.Trim) error {
	next, grown, err := h.Grow(t)
	if err != nil {
		return err
	}
	if grown {
		if err := tx.Bucket(metaName).Put(headKey, journal.EncodeHead(next)); err != nil {
			return err
		}
	}
	entries := tx.Bucket(entriesName)
	var drop []uint64
	c := entries.Cursor()
	for k, v := c.Seek(key(t.From)); len(k) == 8 && binary.BigEndian.Uint64(k) < next.Deletable(t); k, v = c.Next() {
		index := binary.BigEndian.Uint64(k)
		e, err := journal.DecodeEntry(v, h.Cluster, index)
		if err != nil {
			return err
		}
		if e.Kind != journal.KindFence && !t.Keep(index) {
			drop = append(drop, index)
		}
	}
	for _, index := range drop {
		if err := entries.Delete(key(index)); err != nil {
			return err
		}
	}
	return nil
}

// Identity tells what the bucket beside this journal must say, and which one it is bound to: see object.Bind.
func (j *Journal) Identity() (driver journal.Driver, cluster [16]byte, bucket *[16]byte, err error) {
	err = j.view(context.Background(), func(tx *bbolt.Tx, h journal.Head) error {
		cluster, bucket = h.Cluster, journal.DecodeMark(tx.Bucket(metaName).Get(boundKey))
		return nil
	})
	return journal.DriverBolt, cluster, bucket, err
}

// MarkBound records which bucket's head names this journal. journal.ErrMismatch if that is another one already.
func (j *Journal) MarkBound(bucket [16]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := j.update(func(tx *bbolt.Tx, _ journal.Head) error {
		meta := tx.Bucket(metaName)
		if was := journal.DecodeMark(meta.Get(boundKey)); was != nil && *was != bucket {
			return fmt.Errorf("%w: journal %s is bound to another bucket", journal.ErrMismatch, j.path)
		}
		return meta.Put(boundKey, journal.EncodeMark(bucket))
	})
	return err
}
