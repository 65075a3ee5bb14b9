package peer

import (
	"bytes"
	"io"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/leat-stream/leat/agent/peer/peerpb"
)

func TestPiecesAreProtobufToEverybodyElse(t *testing.T) {
	for _, n := range []int{1, 127, 128, 20000, maxPiece} {
		data := bytes.Repeat([]byte{7}, n)
		raw, err := codec{}.Marshal(outPiece{parts: [][]byte{data[:n/2], data[n/2:]}, size: n})
		if err != nil {
			t.Fatal(err)
		}
		var m peerpb.Piece
		if err := proto.Unmarshal(raw.Materialize(), &m); err != nil || !bytes.Equal(m.GetData(), data) {
			t.Errorf("%d bytes: %v", n, err)
		}
		theirs, err := codec{}.Marshal(&peerpb.Piece{Data: data})
		if err != nil || !bytes.Equal(theirs.Materialize(), raw.Materialize()) {
			t.Errorf("%d bytes differ: %v", n, err)
		}
	}
}

func TestPiecesAreBoundedAndCopyNothing(t *testing.T) {
	data := make([]byte, 2*maxPiece+5)
	var sizes []int
	at := 0
	for p := range pieces([][]byte{data[:10], nil, data[10:]}) {
		sizes = append(sizes, p.size)
		sum := 0
		for _, part := range p.parts {
			if &part[0] != &data[at] {
				t.Error("a copy")
			}
			at, sum = at+len(part), sum+len(part)
		}
		if sum != p.size {
			t.Errorf("%d bytes in a piece of %d", sum, p.size)
		}
	}
	if len(sizes) != 3 || sizes[0] != maxPiece || sizes[1] != maxPiece || sizes[2] != 5 {
		t.Error(sizes)
	}
}

func FuzzPiece(f *testing.F) {
	for _, seed := range []string{"", "\x0a", "\x0a\x00", "\x0a\x01a", "\x0a\x81\x00a", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x12\x01a", "\x0a\x01ab"} {
		f.Add([]byte(seed), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		cut = max(0, min(cut, len(b)))
		data := mem.BufferSlice{mem.SliceBuffer(b[:cut]), mem.SliceBuffer(b[cut:])}
		var p inPiece
		err := codec{}.Unmarshal(data, &p)
		var m peerpb.Piece
		if theirs := proto.Unmarshal(b, &m); err == nil {
			got, readErr := io.ReadAll(p.data)
			if theirs != nil || readErr != nil || len(got) == 0 || !bytes.Equal(got, m.GetData()) {
				t.Errorf("%x: %x, %v; protobuf says %x, %v", b, got, readErr, m.GetData(), theirs)
			}
		}
		p.close()
	})
}
