package objectstore_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/leat-stream/leat/objectstore"
)

func TestBodyReadsAndSeeksAcrossItsParts(t *testing.T) {
	parts := [][]byte{[]byte("ab"), nil, []byte("cde"), {}, []byte("f"), nil}
	want := []byte("abcdef")
	body := objectstore.NewBody(parts...)
	if body.Size() != 6 || !bytes.Equal(body.Bytes(), want) {
		t.Fatalf("size %d, bytes %q", body.Size(), body.Bytes())
	}
	for offset := range int64(7) {
		r := body.Open()
		for range 2 { // seeking back works too
			if at, err := r.Seek(offset, io.SeekStart); err != nil || at != offset {
				t.Fatalf("seek to %d: %d, %v", offset, at, err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want[offset:]) {
				t.Fatalf("from %d: %q, %v", offset, got, err)
			}
		}
		if at, err := r.Seek(-2, io.SeekEnd); err != nil || at != 4 {
			t.Fatalf("seek from the end: %d, %v", at, err)
		}
		if at, err := r.Seek(1, io.SeekCurrent); err != nil || at != 5 {
			t.Fatalf("seek from here: %d, %v", at, err)
		}
	}
	if _, err := body.Open().Seek(7, io.SeekStart); err == nil {
		t.Fatal("a seek beyond the end was accepted")
	}
}

func TestRangeInAnObject(t *testing.T) {
	type result struct{ offset, length int64 }
	for _, c := range []struct {
		r    objectstore.Range
		size int64
		want result // a zero length with a range that is not zero: refused
	}{
		{objectstore.Range{}, 0, result{0, 0}},
		{objectstore.Range{}, 10, result{0, 10}},
		{objectstore.Range{Offset: 3}, 10, result{3, 7}},
		{objectstore.Range{Offset: 3, Length: 4}, 10, result{3, 4}},
		{objectstore.Range{Offset: 9, Length: 100}, 10, result{9, 1}},
		{objectstore.Range{Length: 10}, 10, result{0, 10}},
		{objectstore.Range{Offset: 10}, 10, result{}},
		{objectstore.Range{Offset: 11, Length: 1}, 10, result{}},
		{objectstore.Range{Length: 1}, 0, result{}},
		{objectstore.Range{Offset: -1, Length: 2}, 10, result{}},
		{objectstore.Range{Length: -2}, 10, result{}},
		{objectstore.Range{Offset: 1, Length: 1<<63 - 1}, 10, result{}},
	} {
		offset, length, err := c.r.In(c.size)
		refused := c.want.length == 0 && c.r != (objectstore.Range{})
		if refused != errors.Is(err, objectstore.ErrRange) || (result{offset, length}) != c.want {
			t.Errorf("%+v in %d bytes: %d, %d, %v", c.r, c.size, offset, length, err)
		}
	}
}

func TestCheckKeyRefusesWhatCouldEscape(t *testing.T) {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", "a\x00b", "a\nb", `a\b`, "\xff",
		strings.Repeat("k", 1025),
	} {
		if err := objectstore.CheckKey(key); !errors.Is(err, objectstore.ErrNotApplied) {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{"a", "a/b", "a b", "...", "a/..b", "ü/%2e", "a+b&c=d?e#f", strings.Repeat("k", 1024)} {
		if err := objectstore.CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestTheSecretIsNoNameOfAnythingElse(t *testing.T) {
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	key := keys.Secret()
	_, journalErr := keys.ParseJournal(key)
	_, dataErr := keys.ParseData(key)
	_, _, _, snapshotErr := keys.ParseSnapshot(key)
	if key != "c/secret" || key == keys.Head() || journalErr == nil || dataErr == nil || snapshotErr == nil {
		t.Errorf("%q: %v, %v, %v", key, journalErr, dataErr, snapshotErr)
	}
	if err := objectstore.CheckKey(key); err != nil {
		t.Error(err)
	}
}
