// Package s3proto is what the two drivers that speak S3 must agree on: which answer means which error of the contract, how a
// range is asked for and checked, and when a request was certainly never sent.
//
// It must never know an SDK: the drivers hand it status, code and headers.
package s3proto

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/leat-stream/leat/objectstore"
)

// MaxDelete is how many keys one DeleteObjects request takes.
const MaxDelete = 1000

// Refusal is how a store answered a request that it did not fulfil.
type Refusal struct {
	Status int    // HTTP; 0 for one key of a DeleteObjects
	Code   string // of the XML body; "" if there was none
}

// Read answers the sentinel errors, joined, that a refused Get or List matches; nil if none fits.
func (r Refusal) Read() error {
	if r.Code == "NoSuchKey" || r.Status == http.StatusNotFound && r.Code != "NoSuchBucket" {
		return objectstore.ErrNotFound
	}
	if r.Code == "InvalidRange" || r.Status == http.StatusRequestedRangeNotSatisfiable {
		return objectstore.ErrRange
	}
	return r.Any()
}

// Put answers the sentinel errors, joined, that a Put refused under condition c matches; nil if none fits. AWS says 409 when
// two conditional writes collide, and 404 when If-Match finds no object: both are lost races.
func (r Refusal) Put(c objectstore.Condition) error {
	_, match := c.Match()
	if match || c.Absent() {
		switch {
		case r.Code == "NoSuchBucket":
		case r.Status == http.StatusPreconditionFailed, r.Status == http.StatusConflict,
			match && r.Status == http.StatusNotFound:
			return objectstore.ErrLost
		case r.Status == http.StatusNotImplemented, r.Code == "NotImplemented":
			return errors.Join(objectstore.ErrUnsupported, objectstore.ErrNotApplied)
		}
	}
	// Beyond 4xx, and for the two of them that speak about time rather than about the request, the request may have been
	// carried out, or may be on its way from a proxy.
	err := r.Any()
	if r.Status/100 == 4 && r.Status != http.StatusRequestTimeout && r.Status != statusClientClosed {
		err = errors.Join(err, objectstore.ErrNotApplied)
	}
	return err
}

// statusClientClosed is nginx's 499: the proxy gave up because the client did.
const statusClientClosed = 499

// Any answers the sentinel error that any refused request matches, a Delete for one; nil if none fits.
func (r Refusal) Any() error {
	switch r.Code {
	case "NoSuchBucket":
		return objectstore.ErrNoBucket
	case "RequestTimeTooSkewed":
		return objectstore.ErrClockSkew
	case "AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "InvalidToken",
		"TokenRefreshRequired", "AllAccessDisabled":
		return objectstore.ErrDenied
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "RequestLimitExceeded", "TooManyRequests":
		return objectstore.ErrThrottled
	}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return objectstore.ErrDenied
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return objectstore.ErrThrottled
	}
	return nil
}

// Explain wraps err with what it means in the terms of the contract (nil: nothing), the operation and the key.
func Explain(operation, key string, meaning, err error) error {
	if meaning == nil {
		return fmt.Errorf("%s %q: %w", operation, key, err)
	}
	return fmt.Errorf("%s %q: %w", operation, key, &explained{meaning: meaning, err: err})
}

// explained prints on one line what errors.Join would print on several.
type explained struct{ meaning, err error }

func (e *explained) Error() string {
	return strings.ReplaceAll(e.meaning.Error(), "\n", ", ") + ": " + e.err.Error()
}

func (e *explained) Unwrap() []error { return []error{e.meaning, e.err} }

// Sent tells whether a request may have reached the wire.
type Sent struct{ connected atomic.Bool }

// Watch answers a context whose request Sent watches. A retrieval of credentials under the same context counts too, which errs
// on the safe side.
func (s *Sent) Watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { s.connected.Store(true) },
	})
}

// Never answers ErrNotApplied if no connection was ever had: nothing can have been sent; else nil.
func (s *Sent) Never() error {
	if s.connected.Load() {
		return nil
	}
	return objectstore.ErrNotApplied
}

// RangeHeader is the value of the Range header for r, "" for the whole object.
func RangeHeader(r objectstore.Range) string {
	switch {
	case r == objectstore.Range{}:
		return ""
	case r.Length == 0:
		return fmt.Sprintf("bytes=%d-", r.Offset)
	}
	return fmt.Sprintf("bytes=%d-%d", r.Offset, r.Offset+r.Length-1)
}

// Open checks the answer to a Get of range r and answers the object, whose reader fails unless it yields exactly the bytes
// announced, and once ctx, the Get's, has ended. It closes body if it answers an error. ContentLength is negative if the answer has none.
func Open(ctx context.Context, body io.ReadCloser, r objectstore.Range, contentRange string, contentLength int64, v objectstore.Version) (
	objectstore.Object, error,
) {
	size, length, err := extent(r, contentRange, contentLength)
	if err != nil {
		_ = body.Close()
		return objectstore.Object{}, err
	}
	return objectstore.Object{Reader: &exactReader{ctx: ctx, body: body, left: length}, Size: size, Version: v}, nil
}

// extent answers the size of the whole object and the length of its part.
func extent(r objectstore.Range, contentRange string, contentLength int64) (size, length int64, err error) {
	if contentLength < 0 {
		return 0, 0, errors.New("the answer has no Content-Length")
	}
	if r == (objectstore.Range{}) {
		return contentLength, contentLength, nil
	}
	if contentRange == "" {
		if contentLength == 0 { // some stores answer a range of an empty object with all of it
			return 0, 0, objectstore.ErrRange
		}
		return 0, 0, errors.New("the store ignored the range")
	}
	spec, total, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	first, last, _ := strings.Cut(spec, "-")
	size, errSize := strconv.ParseInt(total, 10, 64)
	from, errFrom := strconv.ParseInt(first, 10, 64)
	to, errTo := strconv.ParseInt(last, 10, 64)
	if errSize != nil || errFrom != nil || errTo != nil {
		return 0, 0, fmt.Errorf("Content-Range %q cannot be understood", contentRange)
	}
	offset, length, err := r.In(size)
	if err != nil || from != offset || to != offset+length-1 || contentLength != length {
		return 0, 0, fmt.Errorf("Content-Range %q with %d bytes does not fit the range asked for", contentRange, contentLength)
	}
	return size, length, nil
}

// exactReader turns every end of a body but the announced one into an error that matches io.ErrUnexpectedEOF, unless it
// is the context's. It looks at that itself: an HTTP client breaks the connection a moment later, by a goroutine of its own, and gives
// what has arrived until then.
type exactReader struct {
	ctx  context.Context
	body io.ReadCloser
	left int64
}

func (r *exactReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.body.Read(p)
	r.left -= int64(n)
	switch {
	case err == nil || r.left == 0:
		return n, nil
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF):
		return n, err
	}
	return n, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
}

// Close reads the announced end of the body, so that the connection can be used again, and closes it.
func (r *exactReader) Close() error {
	if r.left == 0 {
		var end [1]byte
		_, _ = r.body.Read(end[:])
	}
	return r.body.Close()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C is the value of x-amz-checksum-crc32c for a body. With it the store refuses what was damaged on its way.
func CRC32C(body objectstore.Body) string {
	var sum uint32
	for _, part := range body.Parts() {
		sum = crc32.Update(sum, castagnoli, part)
	}
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}
