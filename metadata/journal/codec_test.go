package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden dumps anew")

var (
	testCluster = [16]byte{0xc1, 15: 0x01}
	testTerm    = TermID{0x7e, 15: 0x02}
	testEntry   = Entry{Index: 42, Kind: KindCommands, Term: testTerm, Body: []byte("two commands")}
	testHead    = Head{Format: Level, Driver: DriverObject, Cluster: testCluster, Snapshot: 900, Manifest: [16]byte{0xaa, 15: 0xbb}, Boundary: 701}
)

func encoded(t testing.TB, e Entry) []byte {
	b, err := EncodeEntry(testCluster, e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reseal makes the checksum of b right again.
func reseal(b []byte) []byte {
	n := len(b) - checksumSize
	return binary.BigEndian.AppendUint32(b[:n:n], crc32.Checksum(b[:n], castagnoli))
}

func TestEntryAndHeadComeBack(t *testing.T) {
	for _, e := range []Entry{testEntry, {Index: 1, Kind: KindFence, Term: testTerm}, {Index: 1<<64 - 1, Kind: KindFence, Body: make([]byte, 100_000)}} {
		got, err := DecodeEntry(encoded(t, e), testCluster, e.Index)
		if err != nil || got.Index != e.Index || got.Kind != e.Kind || got.Term != e.Term || !bytes.Equal(got.Body, e.Body) {
			t.Errorf("%v: got %+v, want %+v", err, got, e)
		}
	}
	for _, h := range []Head{testHead, {Format: Level, Driver: DriverBolt}, {Format: Level, Driver: 200, Boundary: 1}} {
		if got, err := DecodeHead(EncodeHead(h)); err != nil || got != h {
			t.Errorf("%v: got %+v, want %+v", err, got, h)
		}
	}
	if _, err := EncodeEntry(testCluster, Entry{Body: make([]byte, MaxBody+1)}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// TestDamageIsFound: every single changed bit and every other length is noticed.
func TestDamageIsFound(t *testing.T) {
	entry, head := encoded(t, testEntry), EncodeHead(testHead)
	for name, b := range map[string][]byte{"entry": entry, "head": head} {
		decode := func(b []byte) error {
			if name == "head" {
				_, err := DecodeHead(b)
				return err
			}
			_, err := DecodeEntry(b, testCluster, 42)
			if err != nil && !strings.Contains(err.Error(), "entry 42") {
				t.Errorf("%v does not say which entry", err)
			}
			return err
		}
		for i := range 8 * len(b) {
			bad := bytes.Clone(b)
			bad[i/8] ^= 1 << (i % 8)
			if err := decode(bad); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s with bit %d changed: %v", name, i, err)
			}
		}
		for n := range b {
			if err := decode(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		if err := decode(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
}

// TestLiesAreFound: fields that are wrong under a right checksum.
func TestLiesAreFound(t *testing.T) {
	set := func(b []byte, at int, v ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], v)
		return reseal(b)
	}
	entry, head := encoded(t, testEntry), EncodeHead(testHead)
	for _, test := range []struct {
		name string
		b    []byte
		want error
		text string
	}{
		{"newer", set(entry, 4, 0, 2), ErrFormat, "level 2, this version reads up to 1"},
		{"much newer", set(entry, 4, 0x12, 0x34), ErrFormat, "level 4660, this version reads up to 1"},
		{"level 0", set(entry, 4, 0, 0), ErrCorrupt, "level 0"},
		{"kind", set(entry, 6, 9), ErrCorrupt, "kind 9"},
		{"zero", set(entry, 7, 1), ErrCorrupt, "byte 7"},
		{"index", set(entry, 8, 1), ErrCorrupt, "index"},
		{"cluster", set(entry, 32, 1), ErrCorrupt, "cluster"},
		{"length", set(entry, 48, 0xff, 0xff, 0xff, 0xff), ErrCorrupt, "4294967295"},
		{"short", set(entry, 51, 11), ErrCorrupt, "11"},
		{"head newer", set(head, 4, 0, 7), ErrFormat, "level 7, this version reads up to 1"},
		{"head driver", set(head, 6, 0), ErrCorrupt, "driver 0"},
		{"head boundary", set(head, 48, 1), ErrCorrupt, "boundary"},
	} {
		_, err := DecodeEntry(test.b, testCluster, 42)
		if strings.HasPrefix(test.name, "head") {
			_, err = DecodeHead(test.b)
		}
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestHeadOnlyGrows(t *testing.T) {
	h := Head{Snapshot: 10, Manifest: [16]byte{1}, Boundary: 6}
	for _, test := range []struct {
		t                  Trim
		snapshot, boundary uint64
		manifest           byte
		grown              bool
	}{
		{Trim{Snapshot: 12, Manifest: [16]byte{2}, Boundary: 11}, 12, 11, 2, true},
		{Trim{Snapshot: 12, Manifest: [16]byte{2}, Boundary: 3}, 12, 6, 2, true},
		{Trim{Snapshot: 10, Manifest: [16]byte{2}, Boundary: 8}, 10, 8, 1, true},
		{Trim{Snapshot: 10, Manifest: [16]byte{2}, Boundary: 6}, 10, 6, 1, false},
		{Trim{Snapshot: 9, Manifest: [16]byte{2}, Boundary: 9}, 10, 6, 1, false},
	} {
		got, grown, err := h.Grow(test.t)
		if err != nil || grown != test.grown || got.Snapshot != test.snapshot || got.Boundary != test.boundary || got.Manifest[0] != test.manifest {
			t.Errorf("%+v: %+v %v %v", test.t, got, grown, err)
		}
	}
	if _, _, err := h.Grow(Trim{Snapshot: 12, Boundary: 14}); err == nil {
		t.Error("a boundary beyond the snapshot was taken")
	}
}

// TestGoldenDumps keeps the bytes: a version that cannot read these any more cannot read anybody's journal.
func TestGoldenDumps(t *testing.T) {
	for name, b := range map[string][]byte{
		"entry-commands": encoded(t, testEntry),
		"entry-fence":    encoded(t, Entry{Index: 7, Kind: KindFence, Term: testTerm, Body: []byte("127.0.0.1:9092")}),
		"head":           EncodeHead(testHead),
	} {
		bin, txt := filepath.Join("testdata", name+".bin"), filepath.Join("testdata", name+".txt")
		if *rewrite {
			if err := os.WriteFile(bin, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(bin)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(golden, b) {
			t.Errorf("%s: the bytes written now differ from the golden ones", name)
		}
		var dump bytes.Buffer
		if err := Dump(&dump, golden, nil); err != nil {
			t.Error(err)
		}
		if *rewrite {
			if err := os.WriteFile(txt, dump.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(txt)
		if err != nil {
			t.Fatal(err)
		}
		if dump.String() != string(want) {
			t.Errorf("%s: dump is\n%swant\n%s", name, dump.String(), want)
		}
	}
}

func TestDumpHandsTheBodyOver(t *testing.T) {
	var out strings.Builder
	err := Dump(&out, encoded(t, testEntry), func(w io.Writer, b []byte) { fmt.Fprintf(w, "<<%s>>\n", b) })
	if err != nil || !strings.Contains(out.String(), "<<two commands>>") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := Dump(io.Discard, []byte("PAR1"), nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// TestFormatDocument keeps FORMAT.md true.
func TestFormatDocument(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		fmt.Sprintf("| level | %d |", Level),
		fmt.Sprintf("| entry magic | `%s` |", entryMagic),
		fmt.Sprintf("| head magic | `%s` |", headMagic),
		fmt.Sprintf("| entry header | %d bytes |", entryHeader),
		fmt.Sprintf("| head | %d bytes |", HeadSize),
		fmt.Sprintf("| body, at most | %d bytes |", MaxBody),
		fmt.Sprintf("| kinds | %d %s, %d %s |", KindFence, KindFence, KindCommands, KindCommands),
		fmt.Sprintf("| drivers | %d %s, %d %s, %d %s, %d %s |", DriverObject, DriverObject, DriverBolt, DriverBolt, DriverMem, DriverMem, DriverEtcd, DriverEtcd),
	} {
		if !strings.Contains(string(doc), line+"\n") {
			t.Errorf("FORMAT.md lacks %q", line)
		}
	}
	// The drawing in codec.go is the drawing in FORMAT.md.
	source, err := os.ReadFile("codec.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(source)) {
		if drawn, ok := strings.CutPrefix(line, "//\t"); ok && !strings.Contains(string(doc), drawn) {
			t.Errorf("FORMAT.md lacks the line %q", drawn)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, testEntry))
	f.Add(EncodeHead(testHead))
	f.Add(encoded(f, Entry{Index: 1, Kind: KindFence}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, reseal(append(bytes.Clone(b), 0, 0, 0, 0))} {
			if e, cluster, err := parseEntry(b); err == nil {
				again, err := EncodeEntry(cluster, e)
				if err != nil || !bytes.Equal(again, b) {
					t.Fatalf("entry %x became %x (%v)", b, again, err)
				}
			} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			if h, err := DecodeHead(b); err == nil {
				if again := EncodeHead(h); !bytes.Equal(again, b) {
					t.Fatalf("head %x became %x", b, again)
				}
			} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			Dump(io.Discard, b, nil)
		}
	})
}
