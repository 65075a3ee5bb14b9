package chunks

import (
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"
)

// pieceBytes is the largest array that a peer's answer is received into. The pieces are let go one by one as the cache reads
// them, so that an answer is never in memory twice.
const pieceBytes = 1 << 20

// pieces is an answer of a peer that is read once.
type pieces [][]byte

// Read implements io.Reader.
func (p *pieces) Read(dst []byte) (n int, err error) {
	for len(*p) > 0 && n < len(dst) {
		first := (*p)[0]
		took := copy(dst[n:], first)
		n += took
		if took < len(first) {
			(*p)[0] = first[took:]
			return n, nil
		}
		(*p)[0] = nil
		*p = (*p)[1:]
	}
	if n == 0 && len(dst) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// receive reads exactly n bytes. ErrLength if body has fewer or more.
func receive(body io.Reader, n int64) (pieces, error) {
	p := make(pieces, 0, (n+pieceBytes-1)/pieceBytes)
	for left := n; left > 0; left -= int64(len(p[len(p)-1])) {
		piece := make([]byte, min(left, pieceBytes))
		if _, err := io.ReadFull(body, piece); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("too few: %w: %w", ErrLength, err)
			}
			return nil, err
		}
		p = append(p, piece)
	}
	if more, err := follows(body); err != nil {
		return nil, err
	} else if more {
		return nil, fmt.Errorf("too many: %w", ErrLength)
	}
	return p, nil
}

// follows reports whether there is another byte.
func follows(body io.Reader) (bool, error) {
	var one [1]byte
	switch n, err := io.ReadFull(body, one[:]); {
	case n > 0:
		return true, nil
	case errors.Is(err, io.EOF):
		return false, nil
	default:
		return false, err
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
