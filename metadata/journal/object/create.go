package object

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore"
)

// Create makes the head of a new cluster whose journal is in the bucket, before its first entry (J6), with a fresh cluster
// id. If head is there already, by this or another process, that is success too; journal.ErrMismatch if it says that the
// truth is elsewhere. journal.ErrNoHead if the bucket has objects of this cluster and no head: then head was lost, and a
// new one would hide what the journal holds.
func Create(ctx context.Context, store objectstore.Store, keys objectstore.Keys) error {
	mine := journal.Head{Format: journal.Level, Driver: journal.DriverObject}
	rand.Read(mine.Cluster[:])
	h, err := claim(ctx, store, keys, mine)
	if err == nil && h.Driver != mine.Driver {
		err = fmt.Errorf("%w: the truth of this bucket is in a %s journal; start with --journal %s", journal.ErrMismatch, h.Driver, h.Driver.URL())
	}
	if err != nil {
		return fmt.Errorf("create journal: %w", err)
	}
	return nil
}

// Local is a journal whose entries are not in the bucket: a file, an etcd, or memory.
type Local interface {
	// Identity answers the driver, the cluster id that the journal was given when it was made, and what MarkBound recorded; nil: nothing.
	Identity() (driver journal.Driver, cluster [16]byte, bucket *[16]byte, err error)
	// MarkBound records, durably if the journal is, which bucket's head names this journal: the first one that is said stays.
	// journal.ErrMismatch for any other. Processes may call it at the same time.
	MarkBound(bucket [16]byte) error
}

// Bind ties a local journal to its bucket, or checks that they are tied to each other. Each knows the other's id, so that
// a journal that was wiped, or a bucket that was emptied or exchanged, is noticed before anything is served: an empty
// journal beside a full bucket would silently hide all data. journal.ErrMismatch or journal.ErrNoHead, in one line, if
// they do not belong together.
//
//	journal \ bucket   empty       head names it   head names another   objects, no head
//	fresh              tie them    go on to tie    refuse               refuse
//	tied               refuse      good            refuse               refuse
//
// The order of the two writes matters: first head, then the mark in the journal. A crash in between leaves a journal that is
// not marked and a head that names it, and the next start goes on. The journal has its id from the moment it exists. The
// bucket's id is in its head, where a journal in the bucket would have the name of a snapshot: whoever creates head draws it. So
// of two buckets that find one fresh journal at the same time, the one that is marked first has it, and the other is refused; it is
// left with a head and nothing else, and the error says so (unused). The other order would leave nothing there, but a journal that is
// marked, beside a bucket without head, could be a crash in between, or a bucket that was emptied or exchanged, and must be refused.
//
// A mem journal dies with its process, and so a bucket that outlives it is refused to the next; a mem store dies with its
// process, and a file beside it is refused at the next start.
func Bind(ctx context.Context, store objectstore.Store, keys objectstore.Keys, local Local) error {
	driver, cluster, bucket, err := local.Identity()
	if err != nil {
		return fmt.Errorf("bind journal to bucket: %w", err)
	}
	mine := journal.Head{Format: journal.Level, Driver: driver, Cluster: cluster}
	rand.Read(mine.Manifest[:])
	var h journal.Head
	if bucket != nil {
		h, _, err = getHead(ctx, store, keys)
	} else {
		h, err = claim(ctx, store, keys, mine)
	}
	switch {
	case errors.Is(err, journal.ErrNoHead) && bucket != nil:
		err = fmt.Errorf("%w: the %s journal belongs to a bucket with cluster id %x, and this bucket has no head",
			journal.ErrMismatch, driver, cluster)
	case err != nil:
	case h.Driver != driver:
		err = fmt.Errorf("%w: the truth of this bucket is in a %s journal, not in a %s journal; start with --journal %s",
			journal.ErrMismatch, h.Driver, driver, h.Driver.URL())
	case h.Cluster != cluster:
		err = fmt.Errorf("%w: the bucket has cluster id %x, the %s journal has %x: the journal that knows this bucket's data was lost or exchanged",
			journal.ErrMismatch, h.Cluster, driver, cluster)
	case bucket == nil:
		err = local.MarkBound(h.Manifest)
	case h.Manifest != *bucket:
		err = fmt.Errorf("%w: the %s journal belongs to another bucket", journal.ErrMismatch, driver)
	}
	if err != nil {
		return fmt.Errorf("bind journal to bucket: %w%s", err, unused(ctx, store, keys, h, err))
	}
	return nil
}

// unused is what to do about a head that names a journal which belongs to another bucket, or none any more, if nothing else of the
// cluster is in this one: it was left by a start that was refused. "" if that is not so. Nobody but the user may delete it: a DELETE
// that lands late, or that comes from an agent whose look was long ago, would take the head of a cluster that lives (J6).
func unused(ctx context.Context, store objectstore.Store, keys objectstore.Keys, h journal.Head, err error) string {
	if !errors.Is(err, journal.ErrMismatch) || h.Driver == 0 || h.Driver == journal.DriverObject {
		return ""
	}
	if used, err := inUse(ctx, store, keys); used != "" || err != nil {
		return ""
	}
	return fmt.Sprintf("; this bucket holds no data of a cluster: if no agent ever served from it, delete the object %s and start again", keys.Head())
}

// claim answers the head of the bucket, after creating it as mine if the bucket is empty.
func claim(ctx context.Context, store objectstore.Store, keys objectstore.Keys, mine journal.Head) (journal.Head, error) {
	for attempt := 0; ; attempt++ {
		h, _, err := getHead(ctx, store, keys)
		if !errors.Is(err, journal.ErrNoHead) {
			return h, err
		}
		// LIST before the second look at head: whatever another process has written since, it wrote head first.
		used, err := inUse(ctx, store, keys)
		if err != nil {
			return h, err
		}
		if h, _, err := getHead(ctx, store, keys); !errors.Is(err, journal.ErrNoHead) {
			return h, err
		}
		if used != "" {
			return h, fmt.Errorf("%w: but %s is there", journal.ErrNoHead, used)
		}
		_, err = store.Put(ctx, keys.Head(), objectstore.NewBody(journal.EncodeHead(mine)), objectstore.IfAbsent())
		if err != nil && final(err) {
			return h, err
		}
		// Whatever the answer, head is what is there now.
		if err != nil && pause(ctx, attempt) != nil {
			return h, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

// inUse answers the name of an object that only a cluster that lives, or lived, can have left; "" if there is none. It
// protects against a mistake; no rule of the journal rests on it.
func inUse(ctx context.Context, store objectstore.Store, keys objectstore.Keys) (string, error) {
	for info, err := range store.List(ctx, strings.TrimSuffix(keys.Head(), "head"), "") {
		if err != nil {
			return "", fmt.Errorf("look for objects of a cluster without head: %w", err)
		}
		_, notEntry := keys.ParseJournal(info.Key)
		_, notData := keys.ParseData(info.Key)
		if notEntry == nil || notData == nil || strings.HasPrefix(info.Key, keys.SnapshotPrefix()) {
			return info.Key, nil
		}
	}
	return "", nil
}
