package mem_test

import (
	"errors"
	"testing"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

func TestACloneGoesItsOwnWay(t *testing.T) {
	s := mem.New()
	put := func(s *mem.Store, key string) error {
		_, err := s.Put(t.Context(), key, objectstore.NewBody([]byte("x")), objectstore.IfAbsent())
		return err
	}
	if err := put(s, "common"); err != nil {
		t.Fatal(err)
	}
	c := s.Clone()
	if err := errors.Join(put(s, "later"), put(c, "later"), s.Delete(t.Context(), "common")); err != nil {
		t.Fatal(err)
	}
	if err := put(c, "common"); !errors.Is(err, objectstore.ErrLost) {
		t.Fatalf("a delete in the original reached the clone: %v", err)
	}
}
