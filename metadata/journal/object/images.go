package object

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/leat-stream/leat/objectstore"
)

// Images keeps snapshots of the metadata in the bucket: shards, and manifests that name them. Both are immutable and have
// random names, so that replicas that snapshot at the same time never meet. Safe for concurrent use.
//
// The store given to NewImages should retry what certainly had no effect: every method is idempotent, and nobody above repeats
// it. A put whose outcome is unknown is repeated here.
type Images struct {
	store objectstore.Store
	keys  objectstore.Keys
	pause func(ctx context.Context, attempt int) error // waits before another attempt
}

// NewImages answers the snapshots of one cluster.
func NewImages(store objectstore.Store, keys objectstore.Keys, options ...Option) *Images {
	i := &Images{store: store, keys: keys, pause: pause}
	for _, change := range options {
		change(&i.pause)
	}
	return i
}

// PutShard stores a shard that the image at index is the first to need, under an id that nobody else has.
func (i *Images) PutShard(ctx context.Context, index uint64, id [16]byte, body []byte) error {
	return i.put(ctx, i.keys.SnapshotShard(index, id), body)
}

// GetShard reads a shard. objectstore.ErrNotFound if it was swept: the image that names it is no longer the newest.
func (i *Images) GetShard(ctx context.Context, index uint64, id [16]byte) ([]byte, error) {
	return i.get(ctx, i.keys.SnapshotShard(index, id))
}

// PutManifest stores the manifest of the image at index, once all its shards are stored.
func (i *Images) PutManifest(ctx context.Context, index uint64, id [16]byte, body []byte) error {
	return i.put(ctx, i.keys.SnapshotManifest(index, id), body)
}

// GetManifest reads a manifest, which head names.
func (i *Images) GetManifest(ctx context.Context, index uint64, id [16]byte) ([]byte, error) {
	return i.get(ctx, i.keys.SnapshotManifest(index, id))
}

// Sweep deletes every shard and manifest that garbage picks. It may see less than there is; a later sweep sees the rest.
func (i *Images) Sweep(ctx context.Context, garbage func(index uint64, manifest bool, id [16]byte) bool) error {
	var keys []string
	for info, err := range i.store.List(ctx, i.keys.SnapshotPrefix(), "") {
		if err != nil {
			return fmt.Errorf("sweep snapshots: %w", err)
		}
		index, manifest, id, err := i.keys.ParseSnapshot(info.Key)
		if err != nil {
			continue // not ours to delete
		}
		if garbage(index, manifest, id) {
			keys = append(keys, info.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if err := i.store.Delete(ctx, keys...); err != nil {
		return fmt.Errorf("sweep snapshots: %w", err)
	}
	return nil
}

// putAttempts bounds how often one object is put: with thousands of shards, a rare lost answer must not cost the snapshot.
const putAttempts = 4

// put sends the same bytes under the same name until one attempt succeeds. The name is random and fresh, so an object that is
// there already is what an earlier attempt left.
func (i *Images) put(ctx context.Context, key string, body []byte) error {
	for attempt := 0; ; attempt++ {
		_, err := i.store.Put(ctx, key, objectstore.NewBody(body), objectstore.IfAbsent())
		if err == nil || errors.Is(err, objectstore.ErrLost) {
			return nil
		}
		if final(err) || attempt+1 == putAttempts || i.pause(ctx, attempt) != nil {
			return fmt.Errorf("write snapshot %s: %w", key, err)
		}
	}
}

func (i *Images) get(ctx context.Context, key string) ([]byte, error) {
	o, err := i.store.Get(ctx, key, objectstore.Range{})
	if err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", key, err)
	}
	body, err := io.ReadAll(o.Reader)
	if closeErr := o.Reader.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", key, err)
	}
	return body, nil
}
