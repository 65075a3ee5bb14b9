package fetch

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestRecordsAreGatheredInOrderAndLongPiecesAreNotCopied(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var g gathering
		var want []byte
		referred := 0
		for range r.IntN(60) {
			piece := make([]byte, r.IntN(1+r.IntN(2*referBytes)))
			for i := range piece {
				piece[i] = byte(r.IntN(256))
			}
			refer := len(piece) >= referBytes && r.IntN(4) > 0
			g.add(piece, refer)
			want = append(want, piece...)
			if refer {
				referred++
				if &g.records[len(g.records)-1][0] != &piece[0] {
					t.Fatal("a piece was copied")
				}
			}
		}
		if !bytes.Equal(g.records.Bytes(), want) || g.size != int64(len(want)) || g.records.Size() != g.size {
			t.Fatalf("gathered %d bytes, counted %d, added %d", g.records.Size(), g.size, len(want))
		}
		if most := 2*referred + 1 + len(want)/(blockMax-2*referBytes) + 8; len(g.records) > most {
			t.Fatalf("%d pieces, %d of them referred to", len(g.records), referred)
		}
	}
}

func TestAppendingToAGatheredPieceLeavesTheNextAlone(t *testing.T) {
	var g gathering
	g.copy([]byte("ab"))
	g.add(make([]byte, referBytes), true)
	g.copy([]byte("cd"))
	_ = append(g.records[0], 'x')
	if got := string(g.records[2]); got != "cd" {
		t.Fatalf("got %q", got)
	}
}

// BenchmarkGather is an answer of 1 MiB in batches of 16 KiB: a copied header, the records by reference.
func BenchmarkGather(b *testing.B) {
	chunk := make([]byte, 1<<20)
	b.ReportAllocs()
	b.SetBytes(1 << 20)
	for b.Loop() {
		var g gathering
		for at := 0; at < len(chunk); at += 16 << 10 {
			g.copy(chunk[at : at+61])
			g.add(chunk[at+61:at+16<<10], true)
		}
	}
}
