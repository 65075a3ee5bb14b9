package peer

import (
	"encoding/binary"
	"fmt"
	"iter"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto" // registers the codec that this one builds on
	"google.golang.org/grpc/mem"
)

// codec is gRPC's codec for protobuf, except that the data of a chunk is neither copied nor looked at. That halves what a
// chunk costs: 1.4 CPU s/GiB for both ends together instead of 2.6, and no garbage.
//
//	peerpb.Piece:  ┌──────┬────────────────┬──────────────┐
//	               │ 0x0A │ length, varint │ data … (end) │   field 1, bytes
//	               └──────┴────────────────┴──────────────┘
type codec struct{}

var protobuf = encoding.GetCodecV2(proto.Name)

const pieceTag = 1<<3 | 2

// Name implements encoding.CodecV2: to the other end it is protobuf.
func (codec) Name() string { return proto.Name }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	p, ok := v.(outPiece)
	if !ok {
		return protobuf.Marshal(v)
	}
	head := binary.AppendUvarint([]byte{pieceTag}, uint64(p.size))
	out := append(make(mem.BufferSlice, 0, 1+len(p.parts)), mem.SliceBuffer(head))
	for _, part := range p.parts {
		out = append(out, mem.SliceBuffer(part))
	}
	return out, nil
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	p, ok := v.(*inPiece)
	if !ok {
		return protobuf.Unmarshal(data, v)
	}
	return p.open(data)
}

// outPiece is a peerpb.Piece to be sent; its parts are not changed any more.
type outPiece struct {
	parts [][]byte
	size  int
}

// pieces cuts parts into messages of at most maxPiece bytes, without copying them.
func pieces(parts [][]byte) iter.Seq[outPiece] {
	return func(yield func(outPiece) bool) {
		var p outPiece
		for _, part := range parts {
			for len(part) > 0 {
				n := min(len(part), maxPiece-p.size)
				p.parts, p.size = append(p.parts, part[:n]), p.size+n
				part = part[n:]
				if p.size == maxPiece {
					if !yield(p) {
						return
					}
					p = outPiece{}
				}
			}
		}
		if p.size > 0 {
			yield(p)
		}
	}
}

// inPiece is a peerpb.Piece that came: what is left of it, in the buffers that it came in.
type inPiece struct {
	data *mem.Reader
	bad  error // gRPC would keep only the text of it
}

// open takes a reference to data. A piece without data makes no sense.
func (p *inPiece) open(data mem.BufferSlice) error {
	p.close()
	r := data.Reader()
	tag, err := r.ReadByte()
	if err == nil && tag == pieceTag {
		var n uint64
		if n, err = binary.ReadUvarint(r); err == nil && n > 0 && n == uint64(r.Remaining()) {
			p.data = r
			return nil
		}
	}
	_ = r.Close()
	p.bad = fmt.Errorf("%w: a piece of %d bytes", ErrInvalid, data.Len())
	return p.bad
}

// close gives the buffers back. It may be called again.
func (p *inPiece) close() {
	if p.data != nil {
		_ = p.data.Close()
		p.data = nil
	}
}
