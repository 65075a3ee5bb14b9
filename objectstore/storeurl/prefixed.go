package storeurl

import (
	"context"
	"iter"
	"strings"

	"github.com/leat-stream/leat/objectstore"
)

// prefixed puts the URL's prefix in front of every key. The keys that errors print have it, as the bucket does.
type prefixed struct {
	store  objectstore.Store
	prefix string // ends with a slash
}

func (s *prefixed) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	return s.store.Get(ctx, s.prefix+key, r)
}

func (s *prefixed) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	return s.store.Put(ctx, s.prefix+key, body, c)
}

func (s *prefixed) Delete(ctx context.Context, keys ...string) error {
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = s.prefix + key
	}
	return s.store.Delete(ctx, full...)
}

func (s *prefixed) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	if after != "" {
		after = s.prefix + after
	}
	return func(yield func(objectstore.Info, error) bool) {
		for info, err := range s.store.List(ctx, s.prefix+prefix, after) {
			info.Key = strings.TrimPrefix(info.Key, s.prefix)
			if !yield(info, err) {
				return
			}
		}
	}
}
