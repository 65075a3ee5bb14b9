package object_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

// TestPairedFaultsOnEveryPutOfAnImage: one lost answer must not cost a whole snapshot, which may have thousands of shards.
func TestPairedFaultsOnEveryPutOfAnImage(t *testing.T) {
	for _, fault := range []fake.Fault{fake.Refuse, fake.Lose, fake.LoseAnswer} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			keys, err := objectstore.NewKeys("c")
			if err != nil {
				t.Fatal(err)
			}
			store := fake.New(keys)
			images := object.NewImages(store, keys)
			store.Script(fake.Rule{Op: fake.Put, Fault: fault})
			if err := images.PutShard(t.Context(), 7, [16]byte{1}, []byte("shard")); err != nil {
				t.Error(err)
			}
			if b, err := images.GetShard(t.Context(), 7, [16]byte{1}); err != nil || string(b) != "shard" {
				t.Errorf("read back %q, %v", b, err)
			}
			store.Script(fake.Rule{Op: fake.Put, Fault: fault, Err: objectstore.ErrDenied, Count: -1})
			if err := images.PutManifest(t.Context(), 7, [16]byte{2}, []byte("manifest")); !errors.Is(err, objectstore.ErrDenied) {
				t.Errorf("a write that is not allowed: %v", err)
			}
		})
	}
}
