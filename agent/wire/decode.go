package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire/shape"
)

// Decode makes a request of a body that came by another way than a connection, with the same care: the shape check goes before
// the decoder, and nothing that body says can end the process. memory is what the request takes besides body, in bytes; no
// request is made if both together are more than limit. Byte slices of the request alias body.
func Decode(key, version int16, body []byte, limit int64) (r kmsg.Request, memory int64, err error) {
	s := shape.Of(key)
	if s == nil {
		return nil, 0, fmt.Errorf("%w: key %d", errUnsupported, key)
	}
	if memory, err = s.Check(version, body); err != nil {
		return nil, 0, err
	}
	if total := memory + int64(len(body)); total > limit {
		return nil, memory, fmt.Errorf("%w: decoding takes %d bytes, at most %d are allowed", errFrameTooLong, total, limit)
	}
	defer func() {
		if v := recover(); v != nil {
			r, err = nil, fmt.Errorf("%w: decoder panicked: %v", shape.ErrMalformed, v)
		}
	}()
	r, err = decodeBody(parsed{Header: Header{Key: key, Version: version}, body: body})
	return r, memory, err
}
