// Package storetest is the acceptance suite of object stores: what every driver and every decorator must do.
//
// It must never ask a store for more than objectstore.Store promises. The suite runs against real servers too, so each test
// keeps to keys of its own, under a random prefix, and cleans up nothing.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/leat-stream/leat/objectstore"
)

// Run runs the suite. Open answers the store under test: the same objects each time within one test.
func Run(t *testing.T, open func(t *testing.T) objectstore.Store) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"what was put is got", (*suite).putGet},
		{"a body has many parts", (*suite).multiPart},
		{"an empty object is an object", (*suite).empty},
		{"a big object is whole", (*suite).big},
		{"ranges", (*suite).ranges},
		{"a missing object is not found", (*suite).missing},
		{"if-absent refuses the second", (*suite).ifAbsent},
		{"if-version refuses a stale version", (*suite).ifVersion},
		{"if-absent has one winner", (*suite).raceAbsent},
		{"if-version has one winner", (*suite).raceVersion},
		{"if-absent sees deletes", (*suite).deleteAndCreate},
		{"deletes", (*suite).deletes},
		{"lists", (*suite).lists},
		{"a long list has all", (*suite).longList},
		{"odd keys are legal", (*suite).oddKeys},
		{"illegal keys are refused", (*suite).illegalKeys},
		{"an ended context ends all", (*suite).cancelled},
		{"an ended context ends a read", (*suite).cancelledRead},
		{"an open object stays whole", (*suite).readWhileReplaced},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(&suite{T: t, store: open(t), prefix: "suite/" + random() + "/"})
		})
	}
}

// suite is one test of one store.
type suite struct {
	*testing.T
	store  objectstore.Store
	prefix string // of all keys of this test
}

func random() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *suite) key(name string) string { return s.prefix + name }

func (s *suite) put(key, content string, c objectstore.Condition) objectstore.Version {
	s.Helper()
	v, err := s.store.Put(s.Context(), key, objectstore.NewBody([]byte(content)), c)
	if err != nil {
		s.Fatalf("put %s: %v", key, err)
	}
	if v == "" {
		s.Fatalf("put %s: no version", key)
	}
	return v
}

func (s *suite) get(key string, r objectstore.Range) (content []byte, o objectstore.Object) {
	s.Helper()
	o, err := s.store.Get(s.Context(), key, r)
	if err != nil {
		s.Fatalf("get %s: %v", key, err)
	}
	content, err = io.ReadAll(o.Reader)
	if err := errors.Join(err, o.Reader.Close()); err != nil {
		s.Fatalf("read %s: %v", key, err)
	}
	return content, o
}

// want fails the test unless key holds content under version v.
func (s *suite) want(key, content string, v objectstore.Version) {
	s.Helper()
	got, o := s.get(key, objectstore.Range{})
	if string(got) != content || o.Size != int64(len(content)) || o.Version != v {
		s.Fatalf("%s holds %.40q of %d bytes under %q, want %.40q of %d bytes under %q",
			key, got, o.Size, o.Version, content, len(content), v)
	}
}

// wantErr fails the test unless err matches want, and neither ErrLost and ErrNotApplied at once.
func (s *suite) wantErr(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("%s: %v, want %v", what, err, want)
	}
	if errors.Is(err, objectstore.ErrLost) && errors.Is(err, objectstore.ErrNotApplied) {
		s.Fatalf("%s: lost and not applied: %v", what, err)
	}
}

func (s *suite) absent(key string) {
	s.Helper()
	o, err := s.store.Get(s.Context(), key, objectstore.Range{})
	if err == nil {
		_ = o.Reader.Close()
	}
	s.wantErr("get "+key, err, objectstore.ErrNotFound)
}

func (s *suite) list(prefix, after string) []string {
	s.Helper()
	var keys []string
	for info, err := range s.store.List(s.Context(), prefix, after) {
		if err != nil {
			s.Fatalf("list %s: %v", prefix, err)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

func (s *suite) putGet() {
	key := s.key("a/b")
	s.absent(key)
	v := s.put(key, "hello", objectstore.IfAbsent())
	s.want(key, "hello", v)
	if v2 := s.put(key, "world", objectstore.Condition{}); v2 == v {
		s.Fatal("another content has the same version")
	} else {
		s.want(key, "world", v2)
	}
}

func (s *suite) multiPart() {
	parts := [][]byte{[]byte("a"), nil, []byte("bc"), {}, bytes.Repeat([]byte("0123456789"), 10_000), []byte("z"), nil}
	key := s.key("parts")
	if _, err := s.store.Put(s.Context(), key, objectstore.NewBody(parts...), objectstore.IfAbsent()); err != nil {
		s.Fatal(err)
	}
	if got, _ := s.get(key, objectstore.Range{}); !bytes.Equal(got, bytes.Join(parts, nil)) {
		s.Fatalf("%d bytes differ", len(got))
	}
}

func (s *suite) empty() {
	for name, body := range map[string]objectstore.Body{
		"none": {}, "nil": objectstore.NewBody(nil), "two": objectstore.NewBody(nil, []byte{}),
	} {
		key := s.key(name)
		v, err := s.store.Put(s.Context(), key, body, objectstore.IfAbsent())
		if err != nil {
			s.Fatal(err)
		}
		s.want(key, "", v)
		_, err = s.store.Put(s.Context(), key, body, objectstore.IfAbsent())
		s.wantErr("a second one", err, objectstore.ErrLost)
		for _, r := range []objectstore.Range{{Length: 1}, {Offset: 1}, {Offset: 1, Length: 1}} {
			_, err := s.store.Get(s.Context(), key, r)
			s.wantErr("a range of nothing", err, objectstore.ErrRange)
		}
	}
}

func (s *suite) big() {
	half := make([]byte, 8<<20)
	_, _ = rand.Read(half)
	key := s.key("big")
	v, err := s.store.Put(s.Context(), key, objectstore.NewBody(half, half), objectstore.IfAbsent())
	if err != nil {
		s.Fatal(err)
	}
	got, o := s.get(key, objectstore.Range{})
	if o.Size != 16<<20 || o.Version != v || !bytes.Equal(got[:8<<20], half) || !bytes.Equal(got[8<<20:], half) {
		s.Fatalf("%d of %d bytes differ", len(got), o.Size)
	}
	got, o = s.get(key, objectstore.Range{Offset: 8<<20 - 100, Length: 64 << 10})
	if o.Size != 16<<20 || o.Version != v || !bytes.Equal(got, append(half[8<<20-100:], half[:64<<10-100]...)) {
		s.Fatalf("a range of %d of %d bytes differs", len(got), o.Size)
	}
}

func (s *suite) ranges() {
	key, content := s.key("ranges"), "0123456789"
	v := s.put(key, content, objectstore.IfAbsent())
	for _, c := range []struct {
		r    objectstore.Range
		want string // "": refused
	}{
		{objectstore.Range{}, content},
		{objectstore.Range{Length: 1}, "0"},
		{objectstore.Range{Offset: 3}, "3456789"},
		{objectstore.Range{Offset: 3, Length: 4}, "3456"},
		{objectstore.Range{Offset: 9}, "9"},
		{objectstore.Range{Offset: 8, Length: 100}, "89"},
		{objectstore.Range{Length: 10}, content},
		{objectstore.Range{Length: 11}, content},
		{objectstore.Range{Offset: 10}, ""},
		{objectstore.Range{Offset: 10, Length: 1}, ""},
		{objectstore.Range{Offset: 11}, ""},
		{objectstore.Range{Offset: 1 << 62, Length: 1}, ""},
		{objectstore.Range{Offset: -1}, ""},
		{objectstore.Range{Offset: 1, Length: -1}, ""},
		{objectstore.Range{Offset: 1, Length: 1<<63 - 1}, ""},
	} {
		if c.want == "" {
			_, err := s.store.Get(s.Context(), key, c.r)
			s.wantErr("get", err, objectstore.ErrRange)
			continue
		}
		if got, o := s.get(key, c.r); string(got) != c.want || o.Size != 10 || o.Version != v {
			s.Errorf("%+v: %q of %d bytes under %q", c.r, got, o.Size, o.Version)
		}
	}
}

func (s *suite) missing() {
	s.put(s.key("a/b"), "x", objectstore.IfAbsent())
	for _, name := range []string{"a", "a/c", "a/b/c", "b"} {
		s.absent(s.key(name))
		_, err := s.store.Get(s.Context(), s.key(name), objectstore.Range{Offset: 5, Length: 5})
		s.wantErr("range of "+name, err, objectstore.ErrNotFound)
	}
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	key := s.key("cancelled")
	_, err := s.store.Get(ctx, key, objectstore.Range{})
	s.wantErr("get", err, context.Canceled)
	_, err = s.store.Put(ctx, key, objectstore.NewBody([]byte("x")), objectstore.IfAbsent())
	s.wantErr("put", err, context.Canceled)
	s.wantErr("put", err, objectstore.ErrNotApplied)
	s.wantErr("delete", s.store.Delete(ctx, key), context.Canceled)
	err = nil
	for _, err = range s.store.List(ctx, s.prefix, "") {
	}
	s.wantErr("list", err, context.Canceled)
	s.absent(key)
}

func (s *suite) cancelledRead() {
	key := s.key("read")
	if _, err := s.store.Put(s.Context(), key, objectstore.NewBody(make([]byte, 16<<20)), objectstore.IfAbsent()); err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	o, err := s.store.Get(ctx, key, objectstore.Range{})
	if err != nil {
		s.Fatal(err)
	}
	_, err = io.ReadFull(o.Reader, make([]byte, 1000))
	cancel()
	if err != nil {
		s.Fatal(err)
	}
	_, err = io.Copy(io.Discard, o.Reader)
	s.wantErr("read", err, context.Canceled)
	if err := o.Reader.Close(); err != nil && !errors.Is(err, context.Canceled) {
		s.Fatal(err)
	}
}

func (s *suite) readWhileReplaced() {
	key := s.key("replaced")
	old, fresh := bytes.Repeat([]byte("o"), 4<<20), bytes.Repeat([]byte("f"), 4<<20)
	v, err := s.store.Put(s.Context(), key, objectstore.NewBody(old), objectstore.IfAbsent())
	if err != nil {
		s.Fatal(err)
	}
	o, err := s.store.Get(s.Context(), key, objectstore.Range{})
	if err != nil {
		s.Fatal(err)
	}
	if _, err = s.store.Put(s.Context(), key, objectstore.NewBody(fresh), objectstore.IfVersion(v)); err != nil {
		s.Fatal(err)
	}
	// A store may break the reader off, loudly; it must never mix.
	got, err := io.ReadAll(o.Reader)
	if err = errors.Join(err, o.Reader.Close()); err == nil && !bytes.Equal(got, old) {
		s.Fatalf("%d bytes are not what was opened", len(got))
	}
}
