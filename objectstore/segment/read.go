package segment

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/leat-stream/leat/objectstore"
)

// Getter is the part of a store that reading needs.
type Getter interface {
	Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error)
}

// What is read in one request, in bytes. Most indexes fit into the end.
const (
	beginning = 4 << 10
	ending    = 64 << 10
)

// ReadIndex reads what an object says about itself: one request for its beginning, which tells its size, one for its end, and a third if the
// index is longer than 64 KiB. None of its runs is read, except those of an object of less than 68 KiB. Errors are the store's,
// ErrCorrupt or ErrLevel, with the key.
func ReadIndex(ctx context.Context, g Getter, key string) (Segment, error) {
	s, err := readIndex(ctx, g, key)
	if err != nil {
		return Segment{}, fmt.Errorf("segment %s: %w", key, err)
	}
	return s, nil
}

func readIndex(ctx context.Context, g Getter, key string) (Segment, error) {
	first, size, err := get(ctx, g, key, 0, beginning)
	if err != nil {
		return Segment{}, err
	}
	if size == int64(len(first)) {
		return Parse(first)
	}
	h, start, err := ParseHeader(first)
	if err != nil {
		return Segment{}, err
	}
	f, last, err := readFooter(ctx, g, key, size)
	if err != nil {
		return Segment{}, err
	}
	if f.Kind != h.Kind {
		return Segment{}, corrupt("the header says %s, the footer %s", h.Kind, f.Kind)
	}
	if f.IndexPosition < start {
		return Segment{}, corrupt("the index at %d lies within the header", f.IndexPosition)
	}
	var index []byte
	if at := f.IndexPosition - (size - int64(len(last))); at >= 0 {
		index = last[at : at+f.IndexLength]
	} else if index, err = getAll(ctx, g, key, f.IndexPosition, f.IndexLength, size); err != nil {
		return Segment{}, err
	}
	runs, err := ParseIndex(index, f, start)
	if err != nil {
		return Segment{}, err
	}
	return Segment{Header: h, Footer: f, Runs: runs, Size: size}, nil
}

// ReadFooter reads the footer of an object of size bytes, in one request.
func ReadFooter(ctx context.Context, g Getter, key string, size int64) (Footer, error) {
	f, _, err := readFooter(ctx, g, key, size)
	if err != nil {
		return Footer{}, fmt.Errorf("segment %s: %w", key, err)
	}
	return f, nil
}

// readFooter answers the end of the object too.
func readFooter(ctx context.Context, g Getter, key string, size int64) (Footer, []byte, error) {
	if size < HeaderSize+FooterSize {
		return Footer{}, nil, corrupt("an object of %d bytes", size)
	}
	at := max(0, size-ending)
	last, err := getAll(ctx, g, key, at, size-at, size)
	if err != nil {
		return Footer{}, nil, err
	}
	f, err := ParseFooter(last, size)
	return f, last, err
}

// getAll reads exactly length bytes of an object that has size bytes.
func getAll(ctx context.Context, g Getter, key string, at, length, size int64) ([]byte, error) {
	b, now, err := get(ctx, g, key, at, length)
	if err != nil {
		return nil, err
	}
	if now != size || int64(len(b)) != length {
		return nil, corrupt("it has %d bytes instead of %d, %d of %d were read at %d", now, size, len(b), length, at)
	}
	return b, nil
}

// get reads at most length bytes, fewer at the end of the object, and answers the size of the whole.
func get(ctx context.Context, g Getter, key string, at, length int64) (b []byte, size int64, err error) {
	o, err := g.Get(ctx, key, objectstore.Range{Offset: at, Length: length})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, o.Reader.Close()) }()
	b, err = io.ReadAll(io.LimitReader(o.Reader, length))
	return b, o.Size, err
}
