package storeurl_test

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/file"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

func TestURLsNameTheirStore(t *testing.T) {
	for raw, want := range map[string]struct {
		kind   storeurl.Kind
		prefix string
		remote bool
	}{
		"mem:":                            {storeurl.Mem, "", false},
		"file:///some/dir":                {storeurl.File, "", false},
		"s3://bucket":                     {storeurl.S3, "", true},
		"s3://bucket/":                    {storeurl.S3, "", true},
		"s3://bucket/a/b/":                {storeurl.S3, "a/b", true},
		"s3://b-1.x/p%20q":                {storeurl.S3, "p q", true},
		"minio://h:1/b":                   {storeurl.Minio, "", true},
		"minio://h:1/b/p/q":               {storeurl.Minio, "p/q", true},
		"minio://h/b/?tls=false&region=r": {storeurl.Minio, "", true},
		"s3://b/p?endpoint=http://127.0.0.1:9000&region=eu-central-1&path_style=true":           {storeurl.S3, "p", true},
		"s3://b/p?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=eu-central-1&path_style=1":      {storeurl.S3, "p", true},
		"s3://b?endpoint=https://account.r2.cloudflarestorage.com&region=auto&path_style=false": {storeurl.S3, "", true},
	} {
		u, err := storeurl.Parse(raw)
		if err != nil || u.Kind != want.kind || u.Prefix != want.prefix || u.Kind.Remote() != want.remote {
			t.Errorf("%s: %+v, %v", raw, u, err)
		}
	}
}

func TestWrongURLsAreToldInOneLine(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                  "want file:///dir",
		"/var/lib/leat":                     "no scheme",
		"leat":                              "no scheme",
		"gs://bucket":                       "unknown scheme",
		"mem:x":                             "nothing may follow",
		"mem://x":                           "nothing may follow",
		"mem:?a=b":                          "unknown parameter a",
		"file://relative/dir":               "three slashes",
		"file:dir":                          "three slashes",
		"file:":                             "three slashes",
		"file:///dir?x=1":                   "unknown parameter x",
		"s3://":                             "no bucket name",
		"s3:///prefix":                      "no bucket name",
		"s3://host:9000/bucket":             "endpoint=",
		"s3://b?pathstyle=true":             "unknown parameter pathstyle; there are endpoint, region, path_style",
		"s3://b?path_style=maybe":           "must be true or false",
		"s3://b?region=a&region=b":          "twice",
		"s3://b?endpoint=127.0.0.1:9000":    "must begin with http",
		"s3://b/../x":                       "prefix",
		"s3://b/a//b":                       "prefix",
		"s3://b#x":                          "unexpected #x",
		"s3://id:hunter2@bucket":            "credentials do not belong",
		"minio:///bucket":                   "no host",
		"minio://host:9000":                 "no bucket name",
		"minio://host:9000/":                "no bucket name",
		"minio://host:9000/b?secure=false":  "unknown parameter secure",
		"minio://host:9000/b?tls=perhaps":   "must be true or false",
		"minio://host:port/b":               "port",
		"s3://b?endpoint=http://x;region=y": "semicolon",
	} {
		_, err := storeurl.Open(t.Context(), raw)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is shown: %v", err)
		}
	}
}

func TestAFileStoreIsTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space", "and é")
	s, err := storeurl.Open(t.Context(), "file://"+strings.ReplaceAll(dir, " ", "%20"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a/b", objectstore.NewBody([]byte("x")), objectstore.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	other, err := file.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	o, err := other.Get(t.Context(), "a/b", objectstore.Range{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(o.Reader)
	if err := errors.Join(err, o.Reader.Close(), other.Close()); err != nil || string(got) != "x" {
		t.Fatal(string(got), err)
	}
}
