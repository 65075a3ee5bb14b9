package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

// double is an S3 server that answers what a test says; both remote drivers talk to it.
type double struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request // bodies are read; guarded by mu
	bodies   []string
}

// eachRemote runs f with each remote driver against a server that answers with answer.
func eachRemote(t *testing.T, answer http.HandlerFunc, f func(*testing.T, objectstore.Store, *double)) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_SESSION_TOKEN", "")
	for _, kind := range []string{"s3", "minio"} {
		t.Run(kind, func(t *testing.T) {
			d := &double{}
			d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				d.mu.Lock()
				d.requests, d.bodies = append(d.requests, r), append(d.bodies, string(body))
				d.mu.Unlock()
				answer(w, r)
			}))
			defer d.Close()
			f(t, d.open(t, kind), d)
		})
	}
}

func (d *double) open(t *testing.T, kind string) objectstore.Store {
	t.Helper()
	raw := "s3://bucket?path_style=true&region=us-east-1&endpoint=" + url.QueryEscape(d.URL)
	if kind == "minio" {
		raw = "minio://" + d.Listener.Addr().String() + "/bucket?tls=false"
	}
	s, err := storeurl.Open(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (d *double) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.requests)
}

// refuse answers an S3 error.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if code != "" {
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>words</Message></Error>", code)
	}
}

// breakOff closes the connection without another word.
func breakOff(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

var sentinels = []error{
	objectstore.ErrNotFound, objectstore.ErrLost, objectstore.ErrRange, objectstore.ErrNotApplied, objectstore.ErrDenied,
	objectstore.ErrNoBucket, objectstore.ErrClockSkew, objectstore.ErrThrottled, objectstore.ErrUnsupported,
}

// wantExactly fails the test unless err is an error on one line that matches the sentinels in want and no other.
func wantExactly(t *testing.T, what string, err error, want ...error) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: error %v", what, err)
	}
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel) != slices.Contains(want, sentinel) {
			t.Errorf("%s: %v: matches %q: %v", what, err, sentinel, errors.Is(err, sentinel))
		}
	}
}

func TestAnswersHaveTheirMeaning(t *testing.T) {
	const (
		plain = iota
		absent
		match
		read
		remove
	)
	lost, never := objectstore.ErrLost, objectstore.ErrNotApplied
	for _, c := range []struct {
		operation int
		status    int
		code      string
		want      []error
	}{
		{absent, 412, "PreconditionFailed", []error{lost}},
		{absent, 409, "ConditionalRequestConflict", []error{lost}},
		{match, 412, "PreconditionFailed", []error{lost}},
		{match, 404, "NoSuchKey", []error{lost}},
		{match, 404, "NoSuchBucket", []error{objectstore.ErrNoBucket, never}},
		{absent, 404, "NoSuchBucket", []error{objectstore.ErrNoBucket, never}},
		{absent, 501, "NotImplemented", []error{objectstore.ErrUnsupported, never}},
		{plain, 409, "OperationAborted", []error{never}},
		{absent, 400, "EntityTooLarge", []error{never}},
		{absent, 403, "AccessDenied", []error{objectstore.ErrDenied, never}},
		{absent, 403, "SignatureDoesNotMatch", []error{objectstore.ErrDenied, never}},
		{absent, 403, "InvalidAccessKeyId", []error{objectstore.ErrDenied, never}},
		{absent, 400, "ExpiredToken", []error{objectstore.ErrDenied, never}},
		{absent, 403, "RequestTimeTooSkewed", []error{objectstore.ErrClockSkew, never}},
		{absent, 429, "TooManyRequests", []error{objectstore.ErrThrottled, never}},
		{absent, 503, "SlowDown", []error{objectstore.ErrThrottled}},
		{absent, 503, "", []error{objectstore.ErrThrottled}},
		{absent, 408, "RequestTimeout", nil},
		{absent, 499, "", nil},
		{absent, 500, "InternalError", nil},
		{match, 502, "", nil},
		{read, 404, "NoSuchKey", []error{objectstore.ErrNotFound}},
		{read, 404, "NoSuchBucket", []error{objectstore.ErrNoBucket}},
		{read, 403, "AccessDenied", []error{objectstore.ErrDenied}},
		{read, 403, "RequestTimeTooSkewed", []error{objectstore.ErrClockSkew}},
		{read, 416, "InvalidRange", []error{objectstore.ErrRange}},
		{read, 503, "SlowDown", []error{objectstore.ErrThrottled}},
		{read, 500, "InternalError", nil},
		{remove, 403, "AccessDenied", []error{objectstore.ErrDenied}},
		{remove, 404, "NoSuchBucket", []error{objectstore.ErrNoBucket}},
		{remove, 503, "SlowDown", []error{objectstore.ErrThrottled}},
	} {
		answer := func(w http.ResponseWriter, _ *http.Request) { refuse(w, c.status, c.code) }
		eachRemote(t, answer, func(t *testing.T, s objectstore.Store, d *double) {
			var err error
			body := objectstore.NewBody([]byte("ab"), []byte("c"))
			switch c.operation {
			case plain:
				_, err = s.Put(t.Context(), "key", body, objectstore.Condition{})
			case absent:
				_, err = s.Put(t.Context(), "key", body, objectstore.IfAbsent())
			case match:
				_, err = s.Put(t.Context(), "key", body, objectstore.IfVersion("v"))
			case read:
				_, err = s.Get(t.Context(), "key", objectstore.Range{Offset: 1})
			case remove:
				err = s.Delete(t.Context(), "key")
			}
			wantExactly(t, fmt.Sprintf("operation %d: %d %s", c.operation, c.status, c.code), err, c.want...)
			if d.count() != 1 {
				t.Errorf("%d %s: %d requests, want one: drivers do not retry", c.status, c.code, d.count())
			}
		})
	}
}

func TestAPutIsSentAsTheContractSays(t *testing.T) {
	answer := func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"tag"`) }
	eachRemote(t, answer, func(t *testing.T, s objectstore.Store, d *double) {
		body := objectstore.NewBody([]byte("12345"), nil, []byte("6789"))
		v, err := s.Put(t.Context(), "key", body, objectstore.IfAbsent())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), "key", body, objectstore.IfVersion(v)); err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct{ absent, match string }{{"*", ""}, {"", `"tag"`}} {
			r := d.requests[i]
			if r.Method != http.MethodPut || r.URL.Path != "/bucket/key" || d.bodies[i] != "123456789" || r.ContentLength != 9 {
				t.Errorf("%s %s %q of %d bytes", r.Method, r.URL, d.bodies[i], r.ContentLength)
			}
			if r.Header.Get("If-None-Match") != want.absent || r.Header.Get("If-Match") != want.match {
				t.Errorf("conditions %v", r.Header)
			}
			// The check value of CRC-32C over 123456789, big-endian in base64.
			if got := r.Header.Get("X-Amz-Checksum-Crc32c"); got != "4waSgw==" {
				t.Errorf("checksum %q", got)
			}
			if hash := r.Header.Get("X-Amz-Content-Sha256"); hash != "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225" {
				t.Errorf("without TLS the body must be signed: %q", hash)
			}
		}
	})
}

func TestABrokenConnectionIsAnError(t *testing.T) {
	var answer atomic.Pointer[http.HandlerFunc]
	say := func(f http.HandlerFunc) { answer.Store(&f) }
	eachRemote(t, func(w http.ResponseWriter, r *http.Request) { (*answer.Load())(w, r) }, func(t *testing.T, s objectstore.Store, d *double) {
		body := objectstore.NewBody([]byte("x"))
		say(func(w http.ResponseWriter, _ *http.Request) { breakOff(w) })
		_, err := s.Put(t.Context(), "key", body, objectstore.IfAbsent())
		wantExactly(t, "put, answer lost", err)
		if d.count() != 1 {
			t.Errorf("%d requests for one ambiguous put", d.count())
		}
		for _, announced := range []string{"1000", ""} { // "": chunked
			say(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", `"tag"`)
				w.Header().Set("Last-Modified", "Fri, 20 Nov 2026 00:00:00 GMT")
				if announced != "" {
					w.Header().Set("Content-Length", announced)
				}
				_, _ = w.Write(make([]byte, 100))
				_ = http.NewResponseController(w).Flush()
				breakOff(w)
			})
			o, err := s.Get(t.Context(), "key", objectstore.Range{})
			if err != nil {
				if announced != "" {
					t.Errorf("get: %v", err)
				}
				continue // an answer without a length is refused at once
			}
			got, err := io.ReadAll(o.Reader)
			_ = o.Reader.Close()
			if len(got) != 100 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("announced %q: read %d bytes, %v", announced, len(got), err)
			}
		}
		d.Close()
		_, err = s.Put(t.Context(), "key", body, objectstore.IfAbsent())
		wantExactly(t, "put, connection refused", err, objectstore.ErrNotApplied)
		_, err = s.Get(t.Context(), "key", objectstore.Range{})
		wantExactly(t, "get, connection refused", err)
	})
}

func TestATimeoutOfASentPutIsAmbiguous(t *testing.T) {
	arrived := make(chan struct{}, 2)
	answer := func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}
	eachRemote(t, answer, func(t *testing.T, s objectstore.Store, _ *double) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		_, err := s.Put(ctx, "key", objectstore.NewBody([]byte("x")), objectstore.IfAbsent())
		wantExactly(t, "put", err)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestARangeThatTheStoreIgnoresIsAnError(t *testing.T) {
	var contentRange atomic.Value
	answer := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"tag"`)
		w.Header().Set("Last-Modified", "Fri, 20 Nov 2026 00:00:00 GMT")
		if header := contentRange.Load().(string); header != "" {
			w.Header().Set("Content-Range", header)
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = io.WriteString(w, "0123456789")
	}
	eachRemote(t, answer, func(t *testing.T, s objectstore.Store, _ *double) {
		for _, header := range []string{"", "bytes 0-9/100", "bytes 5-14/12", "bytes 5-14/*", "bytes x", "bytes 5-13/100"} {
			contentRange.Store(header)
			_, err := s.Get(t.Context(), "key", objectstore.Range{Offset: 5, Length: 10})
			wantExactly(t, "Content-Range "+header, err)
		}
		contentRange.Store("bytes 5-14/100")
		o, err := s.Get(t.Context(), "key", objectstore.Range{Offset: 5, Length: 10})
		if err != nil || o.Size != 100 {
			t.Fatal(o.Size, err)
		}
		_ = o.Reader.Close()
	})
}

func TestDeletesGoByThousandsAndFailLoudly(t *testing.T) {
	answer := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<DeleteResult><Error><Key>gone</Key><Code>NoSuchKey</Code></Error></DeleteResult>`)
	}
	keys := make([]string, 2500)
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	eachRemote(t, answer, func(t *testing.T, s objectstore.Store, d *double) {
		if err := s.Delete(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for i, body := range d.bodies {
			sizes = append(sizes, strings.Count(body, "<Key>"))
			if d.requests[i].Header.Get("Content-Md5") == "" {
				t.Error("no Content-MD5")
			}
		}
		if !slices.Equal(sizes, []int{1000, 1000, 500}) {
			t.Errorf("requests of %v keys", sizes)
		}
		if err := s.Delete(t.Context()); err != nil || d.count() != 3 {
			t.Error(err, "a delete of nothing asked the store")
		}
	})
	answer = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<DeleteResult><Error><Key>key7</Key><Code>AccessDenied</Code><Message>m</Message></Error></DeleteResult>`)
	}
	eachRemote(t, answer, func(t *testing.T, s objectstore.Store, _ *double) {
		err := s.Delete(t.Context(), "key6", "key7")
		wantExactly(t, "delete", err, objectstore.ErrDenied)
		if !strings.Contains(err.Error(), "key7") {
			t.Error(err)
		}
	})
}

func TestAListThatFailsOnALaterPageYieldsItsErrorLast(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("continuation-token") != "" {
			refuse(w, 503, "SlowDown")
			return
		}
		fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>
			<Contents><Key>a</Key><Size>1</Size><LastModified>2026-11-20T00:00:00.000Z</LastModified></Contents>
			<Contents><Key>b</Key><Size>2</Size><LastModified>2026-11-20T00:00:00.000Z</LastModified></Contents></ListBucketResult>`)
	}
	eachRemote(t, answer, func(t *testing.T, s objectstore.Store, _ *double) {
		var keys []string
		var last error
		for info, err := range s.List(t.Context(), "", "a") { // this store does not know where to start
			keys, last = append(keys, info.Key), err
		}
		wantExactly(t, "list", last, objectstore.ErrThrottled)
		if !slices.Equal(keys, []string{"b", ""}) {
			t.Errorf("yielded %q", keys)
		}
	})
}

func TestWhatIsWrongWithARealServerIsNamed(t *testing.T) {
	server := miniotest.Start(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	_ = free.Close()
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{server.S3URL(""), server.MinioURL("")} {
		probe := func(raw string) error {
			s, err := storeurl.Open(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			return objectstore.Probe(t.Context(), s, keys)
		}
		if err := probe(raw); err != nil {
			t.Errorf("a good server: %v", err)
		}
		noBucket := strings.Replace(strings.Replace(raw, "s3://leat", "s3://nope", 1), "/leat/", "/nope/", 1)
		wantExactly(t, "no bucket", probe(noBucket), objectstore.ErrNoBucket, objectstore.ErrNotApplied)
		away := strings.ReplaceAll(strings.ReplaceAll(raw, url.QueryEscape(server.Address), url.QueryEscape(nobody)), server.Address, nobody)
		wantExactly(t, "nobody there", probe(away), objectstore.ErrNotApplied)
		t.Run("wrong key", func(t *testing.T) {
			t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
			wantExactly(t, "wrong secret", probe(raw), objectstore.ErrDenied, objectstore.ErrNotApplied)
			t.Setenv("AWS_ACCESS_KEY_ID", "nobody")
			wantExactly(t, "wrong key id", probe(raw), objectstore.ErrDenied, objectstore.ErrNotApplied)
		})
	}
}
