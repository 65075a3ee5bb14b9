// Package minio is the object store on MinIO and what speaks its protocol, through minio-go.
//
// It makes exactly one attempt per call: who may try again, the contract says. It must never copy a body together, send it
// in parts (a condition holds for one request), or trust an answer whose length is not the announced one.
package minio

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/s3proto"
)

// Config names a bucket. Credentials come from MINIO_ACCESS_KEY and MINIO_SECRET_KEY or from the AWS chain; they may
// change while the process runs.
type Config struct {
	Address string // host:port
	Bucket  string
	TLS     bool
	Region  string // "" is us-east-1, MinIO's own default
}

// Validate refuses a Config that cannot work, in one line.
func (c Config) Validate() error {
	if c.Address == "" {
		return errors.New("minio: no host:port")
	}
	if strings.Contains(c.Address, "/") {
		return fmt.Errorf("minio: address %q must be host:port", c.Address)
	}
	if c.Bucket == "" {
		return errors.New("minio: no bucket name")
	}
	return nil
}

// idleConnections are kept open to the store, so that parallel uploads and reads need not dial again.
const idleConnections = 256

// Store is a bucket. Make it with New. All fields are set once.
type Store struct {
	core        minio.Core
	bucket      string
	tls         bool
	credentials *rotating
}

var _ objectstore.Store = (*Store)(nil)

// New answers the bucket's store. It asks the network nothing: whether the bucket can be used, objectstore.Probe finds out.
func New(c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Region == "" {
		c.Region = "us-east-1" // else minio-go asks the store first
	}
	transport, err := minio.DefaultTransport(c.TLS)
	if err != nil {
		return nil, fmt.Errorf("minio: %w", err)
	}
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = idleConnections, idleConnections
	chain := newRotating()
	core, err := minio.NewCore(c.Address, &minio.Options{
		Creds: credentials.New(chain), Secure: c.TLS, Transport: transport, Region: c.Region, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("minio: %w", err)
	}
	return &Store{core: *core, bucket: c.Bucket, tls: c.TLS, credentials: chain}, nil
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if err := errors.Join(objectstore.CheckKey(key), r.Check()); err != nil {
		return objectstore.Object{}, s3proto.Explain("minio: get", key, nil, err)
	}
	var options minio.GetObjectOptions
	if header := s3proto.RangeHeader(r); header != "" {
		options.Set("Range", header)
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, key, options)
	if err != nil {
		return objectstore.Object{}, s3proto.Explain("minio: get", key, s.refusal(err).Read(), err)
	}
	o, err := s3proto.Open(ctx, body, r, header.Get("Content-Range"), info.Size, objectstore.Version(info.ETag))
	if err != nil {
		return objectstore.Object{}, s3proto.Explain("minio: get", key, nil, err)
	}
	return o, nil
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	if err := objectstore.CheckKey(key); err != nil {
		return "", s3proto.Explain("minio: put", key, nil, err)
	}
	options := minio.PutObjectOptions{
		UserMetadata:         map[string]string{"x-amz-checksum-crc32c": s3proto.CRC32C(body)},
		DisableContentSha256: true, // no signed chunks: the CRC above, or the hash below, keeps the body whole
	}
	var hash string
	if !s.tls { // without TLS only the signature keeps others from changing the body on its way
		h := sha256.New()
		for _, part := range body.Parts() {
			h.Write(part)
		}
		hash = hex.EncodeToString(h.Sum(nil))
	}
	if c.Absent() {
		options.SetMatchETagExcept("*")
	} else if version, ok := c.Match(); ok {
		options.SetMatchETag(string(version))
	}
	var sent s3proto.Sent
	info, err := s.core.PutObject(sent.Watch(ctx), s.bucket, key, body.Open(), body.Size(), "", hash, options)
	if err != nil {
		return "", s3proto.Explain("minio: put", key, errors.Join(s.refusal(err).Put(c), sent.Never()), err)
	}
	return objectstore.Version(info.ETag), nil
}

// Delete implements objectstore.Store, with one request for every thousand keys.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	objects := make(chan minio.ObjectInfo, len(keys))
	for _, key := range keys {
		if err := objectstore.CheckKey(key); err != nil {
			return s3proto.Explain("minio: delete", key, nil, err)
		}
		objects <- minio.ObjectInfo{Key: key}
	}
	close(objects)
	var first error
	for e := range s.core.RemoveObjects(ctx, s.bucket, objects, minio.RemoveObjectsOptions{}) {
		if first == nil && minio.ToErrorResponse(e.Err).Code != minio.NoSuchKey {
			first = s3proto.Explain("minio: delete", e.ObjectName, s.refusal(e.Err).Any(), e.Err)
		}
	}
	return first
}

// List implements objectstore.Store, with one request for every thousand objects.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		fail := func(meaning, err error) {
			yield(objectstore.Info{}, s3proto.Explain("minio: list", prefix, meaning, err))
		}
		objects := s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{
			Prefix: prefix, StartAfter: after, Recursive: true,
		})
		for o := range objects {
			if o.Err != nil {
				fail(s.refusal(o.Err).Read(), o.Err)
				return
			}
			if o.Key <= after { // a store that does not know StartAfter
				continue
			}
			if !yield(objectstore.Info{Key: o.Key, Size: o.Size, Modified: o.LastModified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil { // minio-go just stops
			fail(nil, err)
		}
	}
}

// refusal finds the answer in an error of minio-go. A denial makes the credentials be read again before the next request.
func (s *Store) refusal(err error) s3proto.Refusal {
	var response minio.ErrorResponse
	if !errors.As(err, &response) {
		return s3proto.Refusal{}
	}
	r := s3proto.Refusal{Status: response.StatusCode, Code: response.Code}
	if errors.Is(r.Any(), objectstore.ErrDenied) {
		s.credentials.deny()
	}
	return r
}
