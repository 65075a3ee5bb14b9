// Package storeurl opens the object store that a URL names. It is the one place that knows all drivers; it must never
// know who asks.
//
//	file:///dir
//	s3://bucket/prefix?endpoint=https://host&region=us-east-1&path_style=true
//	minio://host:port/bucket/prefix?tls=false&region=us-east-1
//	mem:
//
// The prefix goes in front of every key, with a slash between. Credentials are never part of a URL.
package storeurl

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/file"
	"github.com/leat-stream/leat/objectstore/mem"
	"github.com/leat-stream/leat/objectstore/minio"
	"github.com/leat-stream/leat/objectstore/s3"
)

// Kind is a driver.
type Kind string

// The drivers.
const (
	File  Kind = "file"
	Mem   Kind = "mem"
	S3    Kind = "s3"
	Minio Kind = "minio"
)

// Remote reports whether the store lies beyond this machine, so that it outlives the machine's disks.
func (k Kind) Remote() bool { return k == S3 || k == Minio }

// URL is a parsed and checked store URL.
type URL struct {
	Kind   Kind
	Dir    string // of a file store
	Prefix string // in front of every key, without slashes at its ends; "" for none

	s3    s3.Config
	minio minio.Config
}

// Open parses raw and opens the store. It asks the network nothing; a file store's folder is created.
func Open(ctx context.Context, raw string) (objectstore.Store, error) {
	u, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	return u.Open(ctx)
}

// Parse checks a URL and says in one line what is wrong with it.
func Parse(raw string) (URL, error) {
	u, err := parse(raw)
	if err != nil {
		return URL{}, fmt.Errorf("store %q: %w", redact(raw), err)
	}
	return u, nil
}

// redact hides what somebody took for the place of a password.
func redact(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return raw
}

func parse(raw string) (URL, error) {
	if raw == "" {
		return URL{}, errors.New("empty; want file:///dir, s3://bucket/prefix, minio://host:port/bucket/prefix or mem:")
	}
	u, err := url.Parse(raw)
	if err != nil {
		var detail *url.Error
		if errors.As(err, &detail) {
			err = detail.Err
		}
		return URL{}, err
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return URL{}, err
	}
	if u.User != nil {
		return URL{}, errors.New("credentials do not belong in the URL: use the environment or the AWS chain")
	}
	if u.Fragment != "" {
		return URL{}, fmt.Errorf("unexpected #%s", u.Fragment)
	}
	p := parameters{query: query}
	var result URL
	switch Kind(u.Scheme) {
	case File:
		result, err = parseFile(u)
	case Mem:
		result, err = parseMem(u)
	case S3:
		result, err = parseS3(u, &p)
	case Minio:
		result, err = parseMinio(u, &p)
	case "":
		return URL{}, errors.New("no scheme; for a folder write file:///dir")
	default:
		return URL{}, fmt.Errorf("unknown scheme %q; want file, s3, minio or mem", u.Scheme)
	}
	if err = errors.Join(err, p.rest()); err != nil {
		return URL{}, firstOf(err)
	}
	if result.Prefix != "" && objectstore.CheckKey(result.Prefix) != nil {
		return URL{}, fmt.Errorf("prefix %q: it must be slash-separated names other than . and ..", result.Prefix)
	}
	return result, nil
}

// firstOf answers the first of joined errors: one line at a time.
func firstOf(err error) error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()[0]
	}
	return err
}

func parseFile(u *url.URL) (URL, error) {
	if u.Opaque != "" || u.Host != "" || u.Path == "" {
		return URL{}, errors.New("want an absolute folder with three slashes, as in file:///var/lib/leat")
	}
	return URL{Kind: File, Dir: u.Path}, nil
}

func parseMem(u *url.URL) (URL, error) {
	if u.Opaque != "" || u.Host != "" || u.Path != "" {
		return URL{}, errors.New("nothing may follow mem:")
	}
	return URL{Kind: Mem}, nil
}

func parseS3(u *url.URL, p *parameters) (URL, error) {
	result := URL{Kind: S3, Prefix: strings.Trim(u.Path, "/"), s3: s3.Config{
		Bucket: u.Host, Endpoint: p.text("endpoint"), Region: p.text("region"), PathStyle: p.boolean("path_style", false),
	}}
	if result.s3.Bucket == "" {
		return URL{}, errors.New("no bucket name; want s3://bucket/prefix")
	}
	if strings.Contains(u.Host, ":") {
		return URL{}, errors.New("a port beside the bucket name; name the host with endpoint=, as in s3://bucket?endpoint=http://host:port")
	}
	return result, errors.Join(p.err, result.s3.Validate())
}

func parseMinio(u *url.URL, p *parameters) (URL, error) {
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	result := URL{Kind: Minio, Prefix: prefix, minio: minio.Config{
		Address: u.Host, Bucket: bucket, TLS: p.boolean("tls", true), Region: p.text("region"),
	}}
	if u.Host == "" {
		return URL{}, errors.New("no host; want minio://host:port/bucket/prefix")
	}
	if bucket == "" {
		return URL{}, errors.New("no bucket name; want minio://host:port/bucket/prefix")
	}
	return result, errors.Join(p.err, result.minio.Validate())
}

// parameters hands out the parameters of a URL and knows which ones nobody asked for.
type parameters struct {
	query url.Values
	known []string
	err   error // the first parameter that could not be understood
}

func (p *parameters) text(name string) string {
	p.known = append(p.known, name)
	if len(p.query[name]) > 1 && p.err == nil {
		p.err = fmt.Errorf("parameter %s is there twice", name)
	}
	return p.query.Get(name)
}

func (p *parameters) boolean(name string, otherwise bool) bool {
	value := p.text(name)
	if value == "" {
		return otherwise
	}
	b, err := strconv.ParseBool(value)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("parameter %s=%s must be true or false", name, value)
	}
	return b
}

// rest refuses the parameters that nobody asked for.
func (p *parameters) rest() error {
	var unknown []string
	for name := range p.query {
		if !slices.Contains(p.known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	if len(p.known) == 0 {
		return fmt.Errorf("unknown parameter %s; there are none", unknown[0])
	}
	return fmt.Errorf("unknown parameter %s; there are %s", unknown[0], strings.Join(p.known, ", "))
}

// Open opens the store that u names. It asks the network nothing; a file store's folder is created.
func (u URL) Open(ctx context.Context) (objectstore.Store, error) {
	var store objectstore.Store
	var err error
	switch u.Kind {
	case File:
		store, err = file.New(u.Dir)
	case Mem:
		store = mem.New()
	case S3:
		store, err = s3.New(ctx, u.s3)
	case Minio:
		store, err = minio.New(u.minio)
	default:
		err = errors.New("no store URL")
	}
	if err != nil {
		return nil, err
	}
	if u.Prefix == "" {
		return store, nil
	}
	return &prefixed{store: store, prefix: u.Prefix + "/"}, nil
}
