package batch

import (
	"bytes"
	"testing"
)

func TestCRCOfPiecesIsThatOfTheWhole(t *testing.T) {
	whole := View(bytes.Repeat([]byte{1, 7, 3, 250}, 50))
	want := whole.ComputeCRC()
	for i := range whole {
		for j := i; j <= len(whole); j++ {
			if got := CRCOf(whole[:i], whole[i:j], nil, whole[j:]); got != want {
				t.Fatalf("cut at %d and %d: %08x, want %08x", i, j, got, want)
			}
		}
	}
}
