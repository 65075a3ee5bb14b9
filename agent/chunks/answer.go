package chunks

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// pieceBytes is the largest array that a peer's answer is received into. The pieces are let go one by one as the cache reads
// them, so that an answer is never in memory twice.
const pieceBytes = 1 << 20

// spare are arrays of pieceBytes. The cache copies what it keeps, so that they serve again.
var spare = sync.Pool{New: func() any { return new([pieceBytes]byte) }}

// newPiece answers an array that nobody else refers to.
func newPiece(n int64) []byte {
	if n < pieceBytes {
		return make([]byte, n)
	}
	return spare.Get().(*[pieceBytes]byte)[:]
}

// pieces is an answer of a peer. It is read once, and nobody keeps what it is made of.
type pieces struct {
	list [][]byte
	read int // bytes of the first one
}

// Read implements io.Reader.
func (p *pieces) Read(dst []byte) (n int, err error) {
	for len(p.list) > 0 && n < len(dst) {
		took := copy(dst[n:], p.list[0][p.read:])
		n += took
		if p.read += took; p.read == len(p.list[0]) {
			p.drop()
		}
	}
	if n == 0 && len(dst) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// drop lets the first piece go.
func (p *pieces) drop() {
	if len(p.list[0]) == pieceBytes {
		spare.Put((*[pieceBytes]byte)(p.list[0]))
	}
	p.list[0] = nil
	p.list, p.read = p.list[1:], 0
}

// Close implements io.Closer.
func (p *pieces) Close() error {
	for len(p.list) > 0 {
		p.drop()
	}
	return nil
}

// receive reads exactly n bytes. ErrLength if body has fewer or more.
func receive(body io.Reader, n int64) (*pieces, error) {
	p := &pieces{list: make([][]byte, 0, (n+pieceBytes-1)/pieceBytes)}
	for left := n; left > 0; {
		piece := newPiece(min(left, pieceBytes))
		if _, err := io.ReadFull(body, piece); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("too few: %w: %w", ErrLength, err)
			}
			return nil, err
		}
		p.list = append(p.list, piece)
		left -= int64(len(piece))
	}
	var more [1]byte
	switch n, err := io.ReadFull(body, more[:]); {
	case n > 0:
		return nil, fmt.Errorf("too many: %w", ErrLength)
	case errors.Is(err, io.EOF):
		return p, nil
	default:
		return nil, err
	}
}

// watched tells that bytes are coming, without waiting for anybody to hear it.
type watched struct {
	io.Reader
	moved chan<- struct{}
}

// Read implements io.Reader.
func (w watched) Read(dst []byte) (int, error) {
	n, err := w.Reader.Read(dst)
	if n > 0 {
		select {
		case w.moved <- struct{}{}:
		default:
		}
	}
	return n, err
}

// closer does something after the reader was closed.
type closer struct {
	io.ReadCloser
	end func()
}

// Close implements io.Closer.
func (c *closer) Close() error {
	err := c.ReadCloser.Close()
	c.end()
	return err
}

// metered counts bytes, and tells when all that were expected were read. It has one user.
type metered struct {
	io.ReadCloser
	left  int64
	bytes prometheus.Counter
	done  func()
}

// Read implements io.Reader.
func (m *metered) Read(dst []byte) (int, error) {
	n, err := m.ReadCloser.Read(dst)
	if n > 0 {
		m.bytes.Add(float64(n))
		if m.left -= int64(n); m.left <= 0 && m.done != nil {
			m.done()
			m.done = nil
		}
	}
	return n, err
}
