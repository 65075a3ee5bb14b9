// Package s3 is the object store on Amazon S3 and what speaks its protocol, through aws-sdk-go-v2.
//
// It makes exactly one attempt per call: who may try again, the contract says. It must never copy a body together, hold a
// request back, or trust an answer whose length is not the announced one.
package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/s3proto"
)

// Config names a bucket. Credentials come from the usual AWS chain: environment, shared files, web identity, container
// and instance roles; they may change while the process runs.
type Config struct {
	Bucket    string
	Endpoint  string // http:// or https:// URL; "" is Amazon's
	Region    string // "" is the chain's (AWS_REGION, profile); with an Endpoint us-east-1 if there is none
	PathStyle bool   // bucket in the path instead of the host name; most stores but Amazon's want it
}

// Validate refuses a Config that cannot work, in one line.
func (c Config) Validate() error {
	if c.Bucket == "" {
		return errors.New("s3: no bucket name")
	}
	if c.Endpoint != "" && !strings.HasPrefix(c.Endpoint, "http://") && !strings.HasPrefix(c.Endpoint, "https://") {
		return fmt.Errorf("s3: endpoint %q must begin with http:// or https://", c.Endpoint)
	}
	return nil
}

// idleConnections are kept open to the store, so that parallel uploads and reads need not dial again.
const idleConnections = 256

// Store is a bucket. Make it with New. All fields are set once.
type Store struct {
	client      *s3.Client
	bucket      *string
	credentials *rotating
}

var _ objectstore.Store = (*Store)(nil)

// New answers the bucket's store. It reads the AWS chain's files but asks the network nothing: whether the bucket can be used,
// objectstore.Probe finds out.
func New(ctx context.Context, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = idleConnections
		t.MaxIdleConnsPerHost = idleConnections
		t.DisableCompression = true
	})
	options := []func(*config.LoadOptions) error{config.WithHTTPClient(client)}
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	chain, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	if chain.Region == "" {
		if c.Endpoint == "" {
			return nil, errors.New("s3: no region: set region=… in the store's URL, or AWS_REGION")
		}
		chain.Region = "us-east-1" // other stores take any
	}
	s := &Store{bucket: aws.String(c.Bucket)}
	s.credentials = newRotating(chain.Credentials, func(ctx context.Context) (aws.CredentialsProvider, error) {
		again, err := config.LoadDefaultConfig(ctx, options...)
		return again.Credentials, err
	})
	s.client = s3.NewFromConfig(chain, func(o *s3.Options) { s.configure(o, c) })
	return s, nil
}

func (s *Store) configure(o *s3.Options, c Config) {
	o.Credentials = s.credentials
	o.Retryer = aws.NopRetryer{}
	o.UsePathStyle = c.PathStyle
	// Checksums of the SDK's own travel in trailers, which break some stores: Put sets its checksum as a header.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.DisableLogOutputChecksumValidationSkipped = true
	o.ContinueHeaderThresholdBytes = -1 // no Expect: 100-continue: it costs a round trip for each object
	if c.Endpoint != "" {
		o.BaseEndpoint = aws.String(c.Endpoint)
	}
	if !strings.HasPrefix(c.Endpoint, "http://") {
		// TLS and the CRC keep the body whole; a SHA-256 of it would cost more than all else the agent does with it.
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if err := errors.Join(objectstore.CheckKey(key), r.Check()); err != nil {
		return objectstore.Object{}, s3proto.Explain("s3: get", key, nil, err)
	}
	input := &s3.GetObjectInput{Bucket: s.bucket, Key: &key}
	if header := s3proto.RangeHeader(r); header != "" {
		input.Range = &header
	}
	out, err := s.client.GetObject(ctx, input)
	if err != nil {
		return objectstore.Object{}, s3proto.Explain("s3: get", key, s.refusal(err).Read(), err)
	}
	length := int64(-1)
	if out.ContentLength != nil {
		length = *out.ContentLength
	}
	o, err := s3proto.Open(ctx, out.Body, r, aws.ToString(out.ContentRange), length, objectstore.Version(aws.ToString(out.ETag)))
	if err != nil {
		return objectstore.Object{}, s3proto.Explain("s3: get", key, nil, err)
	}
	return o, nil
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body objectstore.Body, c objectstore.Condition) (
	objectstore.Version, error,
) {
	if err := objectstore.CheckKey(key); err != nil {
		return "", s3proto.Explain("s3: put", key, nil, err)
	}
	input := &s3.PutObjectInput{
		Bucket: s.bucket, Key: &key, Body: body.Open(), ContentLength: aws.Int64(body.Size()),
		ChecksumCRC32C: aws.String(s3proto.CRC32C(body)),
	}
	if c.Absent() {
		input.IfNoneMatch = aws.String("*")
	} else if version, ok := c.Match(); ok {
		input.IfMatch = aws.String(string(version))
	}
	var sent s3proto.Sent
	out, err := s.client.PutObject(sent.Watch(ctx), input)
	if err != nil {
		return "", s3proto.Explain("s3: put", key, errors.Join(s.refusal(err).Put(c), sent.Never()), err)
	}
	return objectstore.Version(aws.ToString(out.ETag)), nil
}

// Delete implements objectstore.Store, with one request for every thousand keys.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := objectstore.CheckKey(key); err != nil {
			return s3proto.Explain("s3: delete", key, nil, err)
		}
	}
	for len(keys) > 0 {
		batch := keys[:min(len(keys), s3proto.MaxDelete)]
		keys = keys[len(batch):]
		if err := s.deleteBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) deleteBatch(ctx context.Context, keys []string) error {
	objects := make([]types.ObjectIdentifier, len(keys))
	for i := range keys {
		objects[i].Key = &keys[i]
	}
	out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: s.bucket,
		Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
	}, withContentMD5)
	if err != nil {
		return s3proto.Explain("s3: delete", keys[0], s.refusal(err).Any(), err)
	}
	for _, e := range out.Errors {
		code := aws.ToString(e.Code)
		if code == "NoSuchKey" {
			continue
		}
		return s3proto.Explain("s3: delete", aws.ToString(e.Key), s3proto.Refusal{Code: code}.Any(),
			fmt.Errorf("%s: %s", code, aws.ToString(e.Message)))
	}
	return nil
}

// withContentMD5 gives DeleteObjects, which must have a checksum, the one that every store knows.
func withContentMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		_, _ = stack.Initialize.Remove("AWSChecksum:SetupInputContext")
		_, _ = stack.Build.Remove("AWSChecksum:RequestMetricsTracking")
		_, _ = stack.Finalize.Remove("AWSChecksum:ComputeInputPayloadChecksum")
		_, _ = stack.Finalize.Remove("addInputChecksumTrailer")
		return smithyhttp.AddContentChecksumMiddleware(stack)
	})
}

// List implements objectstore.Store, with one request for every thousand objects.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		input := &s3.ListObjectsV2Input{Bucket: s.bucket, Prefix: &prefix}
		if after != "" {
			input.StartAfter = &after
		}
		for {
			out, err := s.client.ListObjectsV2(ctx, input)
			if err != nil {
				yield(objectstore.Info{}, s3proto.Explain("s3: list", prefix, s.refusal(err).Read(), err))
				return
			}
			for _, o := range out.Contents {
				key := aws.ToString(o.Key)
				if key <= after { // a store that does not know StartAfter
					continue
				}
				info := objectstore.Info{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}
				if !yield(info, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			if aws.ToString(out.NextContinuationToken) == "" {
				yield(objectstore.Info{}, s3proto.Explain("s3: list", prefix, nil,
					errors.New("the store cut the listing but does not say how to go on")))
				return
			}
			input.ContinuationToken = out.NextContinuationToken
		}
	}
}

// refusal finds the answer in an error of the SDK. A denial makes the credentials be read again before the next request.
func (s *Store) refusal(err error) s3proto.Refusal {
	var r s3proto.Refusal
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		r.Status = response.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		r.Code = api.ErrorCode()
	}
	if errors.Is(r.Any(), objectstore.ErrDenied) {
		s.credentials.suspect()
	}
	return r
}
