package segment

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leat-stream/leat/objectstore"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew instead of comparing with them")

func id(s string) (a [16]byte) { copy(a[:], s); return a }

var exampleHeader = Header{Kind: Mixed, Cluster: id("cluster-of-tests"), Owner: id("owner-of-tests!!"), Number: 42}

// example is the segment of the golden files.
func example(t testing.TB) (objectstore.Body, Segment) {
	t.Helper()
	b := NewBuilder(exampleHeader)
	b.Add(id("topic-number-one"), 0, [][]byte{[]byte("first batch|"), []byte("second batch|")}, RunInfo{BaseOffset: -1, Records: 5, Batches: 2, MaxTimestamp: 1_700_000_000_000})
	b.Add(id("topic-number-one"), 7, [][]byte{[]byte("third batch|")}, RunInfo{BaseOffset: -1, Records: 1, Batches: 1, MaxTimestamp: -1})
	b.Add(id("topic-number-two"), 0, [][]byte{[]byte("fourth "), []byte("batch|")}, RunInfo{BaseOffset: -1, Records: 3, Batches: 1, MaxTimestamp: 1_700_000_000_001})
	body, s, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return body, s
}

// large is a segment with so many runs that its index does not fit into one read of the end.
func large(t testing.TB, runs int) (objectstore.Body, Segment) {
	t.Helper()
	b := NewBuilder(Header{Kind: Mixed})
	run := bytes.Repeat([]byte("x"), 100)
	for i := range runs {
		b.Add(id("topic"), int32(i), [][]byte{run[:1+i%100]}, RunInfo{BaseOffset: -1, Records: int64(i), Batches: 1})
	}
	body, s, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return body, s
}

func TestWhatIsBuiltIsReadBack(t *testing.T) {
	body, want := example(t)
	if got := int64(len(body.Bytes())); got != want.Size {
		t.Errorf("%d bytes, want %d", got, want.Size)
	}
	got, err := Verify(body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r := got.Runs[1]; string(body.Bytes()[r.Position:r.End()]) != "third batch|" {
		t.Error("the position leads elsewhere")
	}
}

func TestBuildingCopiesNoRun(t *testing.T) {
	part := []byte("a batch")
	b := NewBuilder(Header{Kind: Mixed})
	if at := b.Add(id("t"), 0, [][]byte{part}, RunInfo{BaseOffset: -1, Records: 1, Batches: 1}); at != HeaderSize {
		t.Errorf("position %d", at)
	}
	size := b.Size()
	body, _, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if parts := body.Parts(); len(parts) != 3 || &parts[1][0] != &part[0] || body.Size() != size {
		t.Errorf("%d parts, %d bytes, promised %d", len(body.Parts()), body.Size(), size)
	}
}

func TestBuilderRefusesWhatIsNoSegment(t *testing.T) {
	bytes, good := [][]byte{[]byte("b")}, RunInfo{BaseOffset: 10, Records: 1, Batches: 1}
	for name, fill := range map[string]func() *Builder{
		"no runs":  func() *Builder { return NewBuilder(Header{Kind: Mixed}) },
		"no kind":  func() *Builder { b := NewBuilder(Header{}); b.Add(id("t"), 0, bytes, good); return b },
		"no bytes": func() *Builder { b := NewBuilder(Header{Kind: Mixed}); b.Add(id("t"), 0, nil, good); return b },
		"no batches": func() *Builder {
			b := NewBuilder(Header{Kind: Mixed})
			b.Add(id("t"), 0, bytes, RunInfo{Records: 1})
			return b
		},
		"negative partition": func() *Builder { b := NewBuilder(Header{Kind: Mixed}); b.Add(id("t"), -1, bytes, good); return b },
		"merged without offset": func() *Builder {
			b := NewBuilder(Header{Kind: Merged})
			b.Add(id("t"), 0, bytes, RunInfo{BaseOffset: -1, Records: 1, Batches: 1})
			return b
		},
		"merged with two partitions": func() *Builder {
			b := NewBuilder(Header{Kind: Merged})
			b.Add(id("t"), 0, bytes, good)
			b.Add(id("t"), 1, bytes, RunInfo{BaseOffset: 11, Records: 1, Batches: 1})
			return b
		},
		"merged out of order": func() *Builder {
			b := NewBuilder(Header{Kind: Merged})
			b.Add(id("t"), 0, bytes, good)
			b.Add(id("t"), 0, bytes, good)
			return b
		},
	} {
		if _, _, err := fill().Finish(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	b := NewBuilder(Header{Kind: Merged})
	b.Add(id("t"), 0, bytes, good)
	b.Add(id("t"), 0, bytes, RunInfo{BaseOffset: 11, Records: 1, Batches: 1})
	if body, want, err := b.Finish(); err != nil {
		t.Error(err)
	} else if got, err := Verify(body.Bytes()); err != nil || !cmp.Equal(want, got) {
		t.Errorf("merged: got %+v, %v", got, err)
	}
}

func TestEveryFlippedBitIsSeen(t *testing.T) {
	body, _ := example(t)
	b := bytes.Clone(body.Bytes())
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := Verify(b); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLevel) {
				t.Errorf("byte %d, bit %d: got %v", i, bit, err)
			}
			b[i] ^= 1 << bit
		}
	}
	for n := range b {
		if _, err := Verify(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: got %v", n, err)
		}
	}
	if _, err := Verify(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte more: got %v", err)
	}
}

// resign makes the checksums of header, index and footer right after a test has changed b. The footer has its usual length.
func resign(b []byte) []byte {
	head := int(binary.BigEndian.Uint16(b[headerLength:]))
	binary.BigEndian.PutUint32(b[head-4:], crc32.Checksum(b[:head-4], castagnoli))
	f := b[len(b)-FooterSize:]
	if at := binary.BigEndian.Uint64(f); at < uint64(len(b)-FooterSize) {
		binary.BigEndian.PutUint32(f[footerIndexChecksum:], crc32.Checksum(b[at:len(b)-FooterSize], castagnoli))
	}
	binary.BigEndian.PutUint32(f[footerChecksum:], crc32.Checksum(f[:footerChecksum], castagnoli))
	return b
}

func TestSignedNonsenseIsRefused(t *testing.T) {
	body, s := example(t)
	entry := int(s.Footer.IndexPosition)
	footer := int(s.Size) - FooterSize
	put := func(at int, x uint64, size int) func([]byte) {
		return func(b []byte) {
			var wide [8]byte
			binary.BigEndian.PutUint64(wide[:], x)
			copy(b[at:at+size], wide[8-size:])
		}
	}
	for name, change := range map[string]func([]byte){
		"kind 3 in the header":        put(headerKind, 3, 1),
		"level 0":                     put(headerLevel, 0, 2),
		"other kind in the footer":    put(footer+footerKind, 2, 1),
		"position within the header":  put(entry+entryPosition, 5, 8),
		"position beyond the end":     put(entry+entryPosition, 1<<40, 8),
		"position negative":           put(entry+entryPosition, 1<<63, 8),
		"length zero":                 put(entry+entryBytes, 0, 8),
		"length into the next":        put(entry+entryBytes, 26, 8),
		"last run too short":          put(entry+2*EntrySize+entryBytes, 12, 8),
		"length enormous":             put(entry+entryBytes, 1<<62, 8),
		"length negative":             put(entry+entryBytes, 1<<63+25, 8),
		"entry of 0 bytes":            put(entry, 0, 2),
		"entry of 65535 bytes":        put(entry, 65535, 2),
		"entry into the next":         put(entry, 71, 2),
		"partition negative":          put(entry+entryPartition, 1<<31, 4),
		"records negative":            put(entry+entryRecords, 1<<63, 8),
		"batches zero":                put(entry+entryBatches, 0, 4),
		"base offset −2":              put(entry+entryBaseOffset, 1<<64-2, 8),
		"index count too small":       put(footer+footerIndexCount, 2, 4),
		"index count too large":       put(footer+footerIndexCount, 4, 4),
		"index count largest":         put(footer+footerIndexCount, 1<<32-1, 4),
		"index position 0":            put(footer+footerIndexPosition, 0, 8),
		"index position enormous":     put(footer+footerIndexPosition, 1<<63, 8),
		"index length enormous":       put(footer+footerIndexLength, 1<<64-1, 8),
		"index length beyond the end": put(footer+footerIndexLength, 1000, 8),
		"index length zero":           put(footer+footerIndexLength, 0, 8),
	} {
		b := bytes.Clone(body.Bytes())
		change(b)
		if _, err := Parse(resign(b)); !errors.Is(err, ErrCorrupt) { // not Verify: the runs' checksums must not be what saves us
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAnIndexHasABound(t *testing.T) {
	const size = 1 << 40
	for _, c := range []struct {
		runs, bytes int64
		ok          bool
	}{{MaxRuns, MaxRuns * EntrySize, true}, {MaxRuns + 1, (MaxRuns + 1) * EntrySize, false}, {MaxRuns, maxIndex, true}, {MaxRuns, maxIndex + 1, false}} {
		f := Footer{Kind: Mixed, IndexPosition: size - FooterSize - c.bytes, IndexLength: c.bytes, IndexCount: c.runs, Length: FooterSize}
		got, err := ParseFooter(appendFooter(nil, f), size)
		if c.ok && (err != nil || got != f) || !c.ok && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d runs in %d bytes: got %+v, %v", c.runs, c.bytes, got, err)
		}
	}
}

func TestAHigherLevelIsRefusedByName(t *testing.T) {
	body, s := example(t)
	for name, at := range map[string]int64{"header": headerLevel, "footer": s.Size - FooterSize + footerLevel} {
		b := bytes.Clone(body.Bytes())
		b[at+1] = 7
		_, err := Verify(resign(b))
		if !errors.Is(err, ErrLevel) || !strings.Contains(err.Error(), "level 7") || !strings.Contains(err.Error(), "level 1") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A later writer of the same level made header, entries and footer longer.
func TestFieldsOfALaterVersionAreSkipped(t *testing.T) {
	body, want := example(t)
	b := body.Bytes()
	const more = 12
	extra := bytes.Repeat([]byte{0xee}, more)

	out := append(bytes.Clone(b[:headerChecksum]), extra...)
	binary.BigEndian.PutUint16(out[headerLength:], HeaderSize+more)
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
	out = append(out, b[HeaderSize:want.Footer.IndexPosition]...)
	at := len(out)
	for i := range want.Runs {
		from := want.Footer.IndexPosition + int64(i)*EntrySize
		entry := append(bytes.Clone(b[from:from+EntrySize]), extra...)
		binary.BigEndian.PutUint16(entry, EntrySize+more)
		binary.BigEndian.PutUint64(entry[entryPosition:], uint64(want.Runs[i].Position)+more)
		want.Runs[i].Position += more
		out = append(out, entry...)
	}
	index := out[at:]
	footer := binary.BigEndian.AppendUint64(nil, uint64(at))
	footer = binary.BigEndian.AppendUint64(footer, uint64(len(index)))
	footer = binary.BigEndian.AppendUint32(footer, uint32(len(want.Runs)))
	footer = binary.BigEndian.AppendUint32(footer, crc32.Checksum(index, castagnoli))
	footer = append(footer, extra...)
	footer = append(footer, 0, byte(Level), 0, FooterSize+more)
	footer = binary.BigEndian.AppendUint32(footer, crc32.Checksum(footer, castagnoli))
	footer = append(append(footer, magic...), byte(Mixed))
	out = append(out, footer...)

	want.Size = int64(len(out))
	want.Footer = Footer{Kind: Mixed, IndexPosition: int64(at), IndexLength: int64(len(index)), IndexCount: 3,
		IndexChecksum: crc32.Checksum(index, castagnoli), Length: FooterSize + more}
	got, err := Verify(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var text strings.Builder
	if err := Dump(&text, out, nil); err != nil {
		t.Error(err)
	}
	if n := strings.Count(text.String(), "unknown to this version"); n != 5 {
		t.Errorf("%d of 5 unknown parts in\n%s", n, text.String())
	}
}

// bucket is a store of one object that counts what is asked.
type bucket struct {
	b    []byte
	asks []objectstore.Range
}

func (s *bucket) Get(_ context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	s.asks = append(s.asks, r)
	if key != "key" {
		return objectstore.Object{}, objectstore.ErrNotFound
	}
	b := s.b[min(r.Offset, int64(len(s.b))):]
	b = b[:min(r.Length, int64(len(b)))]
	return objectstore.Object{Reader: io.NopCloser(bytes.NewReader(b)), Size: int64(len(s.b))}, nil
}

func TestReadingAnIndexTakesFewRequests(t *testing.T) {
	for _, c := range []struct{ runs, requests int }{{3, 1}, {50, 2}, {900, 2}, {935, 2}, {936, 3}, {5000, 3}} {
		body, want := large(t, c.runs)
		store := &bucket{b: body.Bytes()}
		got, err := ReadIndex(t.Context(), store, "key")
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(want, got) {
			t.Errorf("%d runs: another segment", c.runs)
		}
		if len(store.asks) != c.requests {
			t.Errorf("%d runs: %d requests: %v", c.runs, len(store.asks), store.asks)
		}
		if f, err := ReadFooter(t.Context(), store, "key", want.Size); err != nil || f != want.Footer {
			t.Errorf("%d runs: footer %+v, %v", c.runs, f, err)
		}
	}
}

func TestErrorsOfReadingNameTheObject(t *testing.T) {
	body, s := large(t, 2000)
	if _, err := ReadIndex(t.Context(), &bucket{}, "gone"); !errors.Is(err, objectstore.ErrNotFound) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("no object: got %v", err)
	}
	for _, n := range []int64{0, 10, beginning, beginning + 1, s.Size / 2, s.Size - 1} {
		_, err := ReadIndex(t.Context(), &bucket{b: body.Bytes()[:n]}, "key")
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "segment key") {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
	if _, err := ReadFooter(t.Context(), &bucket{b: body.Bytes()}, "key", s.Size-1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another size: got %v", err)
	}
}

// testdata/level1.segment was written by the first version of this format. It is never rewritten: what was written must stay readable.
func TestLevel1StaysReadable(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "level1.segment"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(b)
	if err != nil {
		t.Fatal(err)
	}
	body, want := example(t)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if Level == 1 && !bytes.Equal(b, body.Bytes()) {
		t.Error("the builder writes level 1 differently: that needs a new level, or fields that are appended")
	}
}

func TestDumpIsAsItWas(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "level1.segment"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	err = Dump(&got, b, func(w io.Writer, position int64, b []byte) error {
		_, err := fmt.Fprintf(w, "%10d  %q\n", position, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "level1.txt")
	if *rewrite {
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestDumpSaysWhatIsWrong(t *testing.T) {
	body, s := example(t)
	b := bytes.Clone(body.Bytes())
	b[s.Runs[1].Position]++
	var out strings.Builder
	err := Dump(&out, b, nil)
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(out.String(), "!! corrupt segment: run 1") || !strings.Contains(out.String(), "footer length 40") {
		t.Errorf("got %v and\n%s", err, out.String())
	}
}

// FORMAT.md has a table for each layout; both must say the same.
func TestFormatTellsTheTruth(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for title, c := range map[string]struct {
		layout []field
		size   int
	}{"Header": {headerLayout, HeaderSize}, "Index entry": {entryLayout, EntrySize}, "Footer": {footerLayout, FooterSize}} {
		_, section, ok := strings.Cut(string(doc), "\n## "+title+"\n")
		if !ok {
			t.Fatalf("no section %s", title)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		var rows []field
		for line := range strings.Lines(section) {
			cells := strings.Split(line, "|")
			if len(cells) < 5 {
				continue
			}
			at, err := strconv.Atoi(strings.TrimSpace(cells[1]))
			if err != nil {
				continue // the head of the table
			}
			size, _ := strconv.Atoi(strings.TrimSpace(cells[2]))
			rows = append(rows, field{at: at, size: size, name: strings.TrimSpace(cells[3])})
		}
		next := 0
		for i, f := range c.layout {
			if f.at != next {
				t.Errorf("%s: %s begins at %d, not at %d", title, f.name, f.at, next)
			}
			next = f.at + f.size
			if i >= len(rows) || rows[i].at != f.at || rows[i].size != f.size || rows[i].name != f.name {
				t.Errorf("%s: FORMAT.md differs at %s", title, f.name)
			}
		}
		if next != c.size || len(rows) != len(c.layout) {
			t.Errorf("%s: %d bytes instead of %d, %d rows for %d fields", title, next, c.size, len(rows), len(c.layout))
		}
	}
	for _, want := range []string{
		fmt.Sprintf("level %d", Level), fmt.Sprintf("u16, %d; the first run", HeaderSize), fmt.Sprintf("u16, %d, these two", EntrySize),
		fmt.Sprintf("footer length | u16, %d", FooterSize), fmt.Sprintf("at most %d", MaxRuns), fmt.Sprintf("at most %d |", beginning),
		fmt.Sprintf("first %d KiB", beginning>>10), fmt.Sprintf("last %d KiB", ending>>10), fmt.Sprintf("%d MiB", maxIndex>>20),
		fmt.Sprintf("last %d (level", trailer), fmt.Sprintf("%d runs)", (ending-FooterSize)/EntrySize), "`" + magic + "`",
	} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("FORMAT.md does not say %q", want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	body, _ := example(f)
	f.Add(body.Bytes(), true)
	body, _ = large(f, 50)
	f.Add(body.Bytes(), false)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign && len(b) >= HeaderSize+FooterSize && int(binary.BigEndian.Uint16(b[headerLength:])) == HeaderSize {
			b = resign(bytes.Clone(b)) // else the checksums keep the fuzzer out
		}
		_ = Dump(io.Discard, b, nil)
		s, err := Verify(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLevel) {
				t.Errorf("got %v", err)
			}
			return
		}
		again, err := ReadIndex(t.Context(), &bucket{b: b}, "key")
		if err != nil || !cmp.Equal(s, again) {
			t.Errorf("by range: %+v, %v", again, err)
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	for _, runs := range []int{1, 16, 1000} {
		b.Run(fmt.Sprintf("8MiB/%druns", runs), func(b *testing.B) {
			part := bytes.Repeat([]byte("x"), 8<<20/runs)
			b.SetBytes(8 << 20)
			b.ReportAllocs()
			for b.Loop() {
				s := NewBuilder(Header{Kind: Mixed})
				for i := range runs {
					s.Add([16]byte{}, int32(i), [][]byte{part}, RunInfo{BaseOffset: -1, Records: 1, Batches: 1})
				}
				if _, _, err := s.Finish(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	body, _ := large(b, 1000)
	whole := body.Bytes()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(whole); err != nil {
			b.Fatal(err)
		}
	}
}
