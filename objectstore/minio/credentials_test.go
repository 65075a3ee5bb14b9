package minio

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/leat-stream/leat/objectstore"
)

// gate is a server that knows one access key at a time and remembers which one it was shown last.
type gate struct {
	*httptest.Server
	mu           sync.Mutex
	valid, shown string // guarded by mu
}

func newGate(t *testing.T) *gate {
	g := &gate{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		id, _, _ := strings.Cut(after, "/")
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.shown = id; id != g.valid {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<Error><Code>InvalidAccessKeyId</Code></Error>")
			return
		}
		w.Header().Set("ETag", `"v"`)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gate) accept(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.valid = id
}

// cleanChain takes all credentials of the surroundings away and answers the path of an empty place for a shared file.
func cleanChain(t *testing.T) (file string) {
	t.Helper()
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "MINIO_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	file = filepath.Join(dir, "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	return file
}

func writeKey(t *testing.T, file, id string) {
	t.Helper()
	text := "[default]\naws_access_key_id = " + id + "\naws_secret_access_key = secret\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// open answers a store and a function that moves its clock. Its chain never asks the network for a role.
func open(t *testing.T, g *gate) (*Store, func(time.Duration)) {
	t.Helper()
	s, err := New(Config{Address: g.Listener.Addr().String(), Bucket: "bucket"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.credentials.now = func() time.Time { return now }
	chain := s.credentials.chain
	s.credentials.chain = func() []credentials.Provider { return chain()[:3] }
	return s, func(d time.Duration) { now = now.Add(d) }
}

func put(s *Store) error {
	_, err := s.Put(context.Background(), "key", objectstore.NewBody([]byte("x")), objectstore.IfAbsent())
	return err
}

func TestARotatedFileIsReadAgainInTime(t *testing.T) {
	g, file := newGate(t), cleanChain(t)
	writeKey(t, file, "old")
	g.accept("old")
	s, sleep := open(t, g)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	writeKey(t, file, "new")
	sleep(rereadAfter + time.Second)
	g.accept("new")
	if err := put(s); err != nil {
		t.Fatal(err)
	}
}

func TestADenialHasARotatedFileReadAgainAtOnce(t *testing.T) {
	g, file := newGate(t), cleanChain(t)
	writeKey(t, file, "old")
	g.accept("old")
	s, sleep := open(t, g)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	writeKey(t, file, "new")
	g.accept("new")
	if err := put(s); !errors.Is(err, objectstore.ErrDenied) {
		t.Fatal(err)
	}
	sleep(rereadPause)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
}

func TestAHalfWrittenFileLeavesTheOldCredentialsInUse(t *testing.T) {
	g, file := newGate(t), cleanChain(t)
	writeKey(t, file, "old")
	g.accept("old")
	s, sleep := open(t, g)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	for _, half := range []string{"", "[default]\naws_access_key_id = new\n", "[def"} {
		if err := os.WriteFile(file, []byte(half), 0o600); err != nil {
			t.Fatal(err)
		}
		sleep(2 * rereadAfter)
		if err := put(s); err != nil {
			t.Fatalf("file %q: %v", half, err)
		}
	}
	writeKey(t, file, "new")
	g.accept("new")
	sleep(2 * rereadAfter)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstOfTheChainIsUsed(t *testing.T) {
	g, file := newGate(t), cleanChain(t)
	fresh := func() error { s, _ := open(t, g); return put(s) }
	if err := fresh(); err == nil || !errors.Is(err, objectstore.ErrNotApplied) || strings.Contains(err.Error(), "\n") {
		t.Errorf("no credentials at all: %v", err)
	}
	writeKey(t, file, "file")
	g.accept("file")
	if err := fresh(); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "aws")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	g.accept("aws")
	if err := fresh(); err != nil {
		t.Error(err)
	}
	t.Setenv("MINIO_ACCESS_KEY", "minio")
	t.Setenv("MINIO_SECRET_KEY", "secret")
	g.accept("minio")
	if err := fresh(); err != nil {
		t.Error(err)
	}
}

// role is a provider whose credentials last as long as expired says.
type role struct {
	id      string
	expired *bool
}

func (r role) Retrieve() (credentials.Value, error) { return r.RetrieveWithCredContext(nil) }

func (r role) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return credentials.Value{
		AccessKeyID: r.id, SecretAccessKey: "s", Expiration: time.Now().Add(time.Hour), SignerType: credentials.SignatureV4,
	}, nil
}

func (r role) IsExpired() bool { return *r.expired }

func TestRolesAreRenewedWhenTheyExpireAndNotBefore(t *testing.T) {
	cleanChain(t)
	g := newGate(t)
	s, sleep := open(t, g)
	expired, retrieved := false, 0
	s.credentials.chain = func() []credentials.Provider {
		retrieved++
		return []credentials.Provider{role{fmt.Sprint("role", retrieved), &expired}}
	}
	g.accept("role1")
	for range 3 {
		if err := put(s); err != nil {
			t.Fatal(err)
		}
		sleep(2 * rereadAfter)
	}
	expired = true
	g.accept("role2")
	if err := put(s); err != nil {
		t.Fatal(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Address: "host:9000"}, {Bucket: "b"}, {Address: "http://host", Bucket: "b"}} {
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
