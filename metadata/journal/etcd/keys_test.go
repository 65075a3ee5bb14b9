package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/leat-stream/leat/metadata/journal"
)

// TestFormatDocument keeps the part on etcd of FORMAT.md true.
func TestFormatDocument(t *testing.T) {
	doc, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("| encoded entry stored under its own key, at most | %d bytes |", inlineLimit),
		fmt.Sprintf("| part | %d bytes |", partSize),
		fmt.Sprintf("up to %d keys", dropKeys),
		EnvUser, EnvPassword,
	}
	for line := range strings.Lines(string(source)) {
		if drawn, ok := strings.CutPrefix(line, "//\t"); ok {
			want = append(want, drawn)
		}
	}
	for _, text := range want {
		if !strings.Contains(string(doc), text) {
			t.Errorf("FORMAT.md lacks %q", text)
		}
	}
}

func TestTipAndStubComeBack(t *testing.T) {
	for _, p := range []position{{}, {1, journal.TermID{1}}, {1<<64 - 1, journal.TermID{15: 255}}} {
		if got, err := decodePosition([]byte(p.encode())); err != nil || got != p {
			t.Errorf("got %+v, %v, want %+v", got, err, p)
		}
	}
	for _, s := range []stub{{inlineLimit + 1, [16]byte{1}}, {maxEntry, [16]byte{}}} {
		if got, err := decodeStub(s.encode()); err != nil || got != s {
			t.Errorf("got %+v, %v, want %+v", got, err, s)
		}
	}
	if _, err := decodeStub(stub{length: maxEntry + 1}.encode()); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("a stub for more than the largest entry: %v", err)
	}
}

func TestDamageAndNewerLevelsAreTold(t *testing.T) {
	for _, good := range [][]byte{[]byte(position{7, journal.TermID{3}}.encode()), stub{200_000, [16]byte{9}}.encode()} {
		decode := func(b []byte) error {
			if isStub(good) {
				_, err := decodeStub(b)
				return err
			}
			_, err := decodePosition(b)
			return err
		}
		for i := range good {
			b := bytes.Clone(good)
			b[i] ^= 0x10
			if err := decode(b); !errors.Is(err, journal.ErrCorrupt) {
				t.Errorf("byte %d changed: %v", i, err)
			}
			if err := decode(good[:i]); !errors.Is(err, journal.ErrCorrupt) {
				t.Errorf("cut to %d bytes: %v", i, err)
			}
		}
		newer := bytes.Clone(good[:len(good)-4])
		newer[5]++
		if err := decode(seal(append(newer, "what is to come"...))); !errors.Is(err, journal.ErrFormat) {
			t.Errorf("a newer level: %v", err)
		}
	}
}

func TestIndexOfAKey(t *testing.T) {
	k := keys("/a/b")
	for _, key := range []string{k.entry(1<<64 - 1), k.part(1<<64-1, [16]byte{1}, 3)} {
		if index, err := k.index([]byte(key)); err != nil || index != 1<<64-1 {
			t.Errorf("%s: %d, %v", key, index, err)
		}
	}
	for _, key := range []string{"", "/a/b/head", "/a/b/entry/1", k.entry(1) + "x", "/a/c/entry/00000000000000000001", "/a/b/entry/0000000000000000000x", "/a/b/part/"} {
		if index, err := k.index([]byte(key)); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("%q: %d, %v", key, index, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(position{7, journal.TermID{3}}.encode()))
	f.Add(stub{200_000, [16]byte{9}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(bytes.Clone(b))} {
			if p, err := decodePosition(b); err == nil && p.encode() != string(b) {
				t.Fatalf("%x became %x", b, p.encode())
			}
			if s, err := decodeStub(b); err == nil && !bytes.Equal(s.encode(), b) {
				t.Fatalf("%x became %x", b, s.encode())
			}
			_, _ = keys("/p").index(b)
		}
	})
}
