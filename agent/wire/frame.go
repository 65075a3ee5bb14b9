package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire/shape"
)

// A request on the wire, all numbers big endian:
//
//	0        4    6        8              12
//	┌────────┬────┬────────┬──────────────┬───────────────────┬──────────────┬──────┐
//	│ size   │key │version │correlation id│ client id (int16  │ tags (from   │ body │
//	│ int32  │i16 │ i16    │ int32        │ length, -1: null) │ header v2 on)│      │
//	└────────┴────┴────────┴──────────────┴───────────────────┴──────────────┴──────┘
//	          └───────────────────────── size bytes: the frame ────────────────────┘
//
// Header v2 goes with flexible versions (KIP-482). An answer is size, correlation id, tags in flexible versions (never for
// ApiVersions, whose reader can't know, KIP-511), body.
const (
	sizeBytes     = 4
	minFrameBytes = 8 // key, version, correlation id
)

// Why a frame closes the connection.
var (
	errFrameTooLong = errors.New("frame too long")
	errBadSize      = errors.New("bad frame size")
	errBadHeader    = errors.New("bad request header")
	errUnsupported  = errors.New("unsupported request")
)

const keyApiVersions = int16(kmsg.ApiVersions)

// frameSize reads the length prefix and checks it before anything is allocated for it.
func frameSize(prefix []byte, limit int) (int, error) {
	n := int(int32(binary.BigEndian.Uint32(prefix)))
	if n < minFrameBytes {
		return 0, fmt.Errorf("%w: %d", errBadSize, n)
	}
	if n > limit {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", errFrameTooLong, n, limit)
	}
	return n, nil
}

// parsed is a frame taken apart; body aliases the frame.
type parsed struct {
	Header
	shape    *shape.Shape
	clientID string
	body     []byte
	refused  bool // ApiVersions in a version that is not served: answer in version 0, don't read the body (KIP-511)
}

// parseHeader reads the header of a frame of at least minFrameBytes, having checked that the version is served.
func parseHeader(frame []byte, versions Versions) (parsed, error) {
	if len(frame) < minFrameBytes {
		return parsed{}, fmt.Errorf("%w: %d bytes", errBadHeader, len(frame))
	}
	p := parsed{Header: Header{
		Key:           int16(binary.BigEndian.Uint16(frame)),
		Version:       int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
	}}
	low, high, ok := versions(p.Key)
	if p.shape = shape.Of(p.Key); !ok || p.shape == nil {
		return p, fmt.Errorf("%w: key %d", errUnsupported, p.Key)
	}
	if p.Version < low || p.Version > high {
		if p.Key != keyApiVersions {
			return p, fmt.Errorf("%w: %s version %d, served are %d to %d", errUnsupported, p.shape.Name, p.Version, low, high)
		}
		p.refused = true
	}
	var err error
	if p.clientID, p.body, err = p.shape.Header(p.Version, frame[minFrameBytes:]); err != nil {
		return p, fmt.Errorf("%w: %w", errBadHeader, err)
	}
	return p, nil
}

// decodeBody makes the kmsg request; its shape has passed body. Strings are copied, so that a handler that keeps a topic's
// name does not keep the frame; byte slices alias it, so that records are not copied.
func decodeBody(p parsed) (kmsg.Request, error) {
	r := kmsg.RequestForKey(p.Key)
	if r == nil {
		return nil, fmt.Errorf("%w: key %d", errUnsupported, p.Key)
	}
	r.SetVersion(p.Version)
	if err := r.ReadFrom(p.body); err != nil {
		return nil, fmt.Errorf("%w: %s version %d: %w", shape.ErrMalformed, kmsg.NameForKey(p.Key), p.Version, err)
	}
	return r, nil
}

// appendResponseHeader appends the place for the size, the correlation id and, in flexible versions, no tags.
func appendResponseHeader(dst []byte, h Header) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CorrelationID))
	if s := shape.Of(h.Key); s != nil && s.Flexible(h.Version) && h.Key != keyApiVersions {
		dst = append(dst, 0)
	}
	return dst
}

// unsupportedApiVersions is the answer to ApiVersions in an unknown version: error UNSUPPORTED_VERSION (35) and the range of
// ApiVersions alone, in version 0, from which the client picks its next try (KIP-511, Kafka's ApiVersionsRequest).
func unsupportedApiVersions(versions Versions) *kmsg.ApiVersionsResponse {
	low, high, _ := versions(keyApiVersions)
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = 35
	key := kmsg.NewApiVersionsResponseApiKey()
	key.ApiKey, key.MinVersion, key.MaxVersion = keyApiVersions, low, high
	resp.ApiKeys = append(resp.ApiKeys, key)
	return resp
}
