package batch

import (
	"bytes"
	"math"
	"testing"
)

func TestAtDoesNotTrustTheLength(t *testing.T) {
	whole := build(t, Options{}, some(2))
	with := func(length int32) []byte { return put32(bytes.Clone(whole), atLength, length) }
	for name, c := range map[string]struct {
		b    []byte
		want Kind
	}{
		"whole":          {whole, 0},
		"more follows":   {append(bytes.Clone(whole), 1, 2, 3), 0},
		"nothing":        {nil, InvalidRecord},
		"half a header":  {whole[:30], InvalidRecord},
		"eleven bytes":   {whole[:11], InvalidRecord},
		"sixteen bytes":  {whole[:16], InvalidRecord},
		"one byte short": {whole[:len(whole)-1], InvalidRecord},
		"length −1":      {with(-1), Corrupt},
		"length min":     {with(math.MinInt32), Corrupt},
		"length max":     {with(math.MaxInt32), InvalidRecord},
		"length 13":      {with(13), Corrupt},
		"length 48":      {with(48), Corrupt},
		"magic 1":        {func() []byte { b := bytes.Clone(whole); b[atMagic] = 1; return b }(), InvalidRecord},
		"magic 3":        {func() []byte { b := bytes.Clone(whole); b[atMagic] = 3; return b }(), Corrupt},
		"magic −1":       {func() []byte { b := bytes.Clone(whole); b[atMagic] = 255; return b }(), Corrupt},
	} {
		v, err := At(c.b)
		if KindOf(err) != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if err == nil && (!bytes.Equal(v, whole) || v.Length() != len(v)) {
			t.Errorf("%s: wrong bytes", name)
		}
	}
}

func TestBatchesInARow(t *testing.T) {
	var row []byte
	var at []int
	for n := 1; n < 5; n++ {
		at = append(at, len(row))
		row = append(row, build(t, Options{}, some(n))...)
	}
	var got []int
	if err := Split(row, func(position int, v View) bool {
		got = append(got, position)
		return true
	}); err != nil || len(got) != 4 || got[3] != at[3] {
		t.Errorf("got %v, %v, want %v", got, err, at)
	}
	if err := Split(row[:len(row)-1], func(int, View) bool { return true }); KindOf(err) != InvalidRecord {
		t.Errorf("a cut tail: got %v", err)
	}
	if err := Split(row[:len(row)-1], func(int, View) bool { return false }); err != nil {
		t.Errorf("broken off: got %v", err)
	}
	for n := range row {
		cut := Cut(row[:n])
		want := 0
		for _, p := range at {
			if p <= n {
				want = p
			}
		}
		if len(cut) != want {
			t.Fatalf("%d of %d bytes: cut to %d, want %d", n, len(row), len(cut), want)
		}
	}
	if _, err := Single(row); KindOf(err) != InvalidRecord {
		t.Errorf("several batches: got %v", err)
	}
	if _, err := Single(nil); KindOf(err) != InvalidRecord {
		t.Errorf("no batch: got %v", err)
	}
	if v, err := Single(row[:at[1]]); err != nil || len(v) != at[1] {
		t.Errorf("one batch: got %v", err)
	}
}

func TestPatchLeavesTheChecksumRight(t *testing.T) {
	v := build(t, Options{}, some(3))
	header := bytes.Clone(v[:PatchSize])
	Patch(header, 1<<40, 7)
	patched := View(append(header, v[PatchSize:]...))
	if patched.BaseOffset() != 1<<40 || patched.PartitionLeaderEpoch() != 7 || patched.LastOffset() != 1<<40+2 || patched.CRC() != patched.ComputeCRC() {
		t.Error("wrong header")
	}
	if v.BaseOffset() != 0 {
		t.Error("the original was changed")
	}
}

func TestSequencesWrap(t *testing.T) {
	for _, c := range []struct{ s, n, want int32 }{
		{0, 0, 0}, {0, 1, 1}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 3, 1}, {math.MaxInt32, math.MaxInt32, math.MaxInt32 - 1},
	} {
		if got := AddSequence(c.s, c.n); got != c.want {
			t.Errorf("%d + %d = %d, want %d", c.s, c.n, got, c.want)
		}
	}
	if NextSequence(math.MaxInt32) != 0 || NextSequence(4) != 5 {
		t.Error("next sequence")
	}
	v := build(t, Options{Producer: &Producer{ID: 1, BaseSequence: math.MaxInt32}}, some(3))
	if v.LastSequence() != 1 {
		t.Errorf("last sequence %d", v.LastSequence())
	}
}
