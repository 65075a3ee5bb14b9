package s3

import (
	"context"
	"encoding/pem"
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

func (g *gate) saw(t *testing.T, id string) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shown != id {
		t.Errorf("the request was signed with %q, want %q", g.shown, id)
	}
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
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
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

// open answers a store and a function that moves its clock.
func open(t *testing.T, endpoint string) (*Store, func(time.Duration)) {
	t.Helper()
	s, err := New(t.Context(), Config{Bucket: "bucket", Endpoint: endpoint, PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.credentials.now = func() time.Time { return now }
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
	s, sleep := open(t, g.URL)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	writeKey(t, file, "new") // both are valid for a while, then only the new one
	sleep(rereadAfter + time.Second)
	g.accept("new")
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	g.saw(t, "new")
}

func TestADenialHasARotatedFileReadAgainAtOnce(t *testing.T) {
	g, file := newGate(t), cleanChain(t)
	writeKey(t, file, "old")
	g.accept("old")
	s, sleep := open(t, g.URL)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	writeKey(t, file, "new")
	g.accept("new")
	if err := put(s); !errors.Is(err, objectstore.ErrDenied) {
		t.Fatal(err)
	}
	sleep(rereadPause + time.Millisecond)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	g.saw(t, "new")
}

func TestAHalfWrittenFileLeavesTheOldCredentialsInUse(t *testing.T) {
	g, file := newGate(t), cleanChain(t)
	writeKey(t, file, "old")
	g.accept("old")
	s, sleep := open(t, g.URL)
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
	g.saw(t, "new")
}

func TestCredentialsThatComeLateAreFound(t *testing.T) {
	g, file := newGate(t), cleanChain(t)
	g.accept("late")
	s, sleep := open(t, g.URL)
	err := put(s)
	if err == nil || !errors.Is(err, objectstore.ErrNotApplied) || !strings.Contains(err.Error(), "no credentials") {
		t.Fatal(err)
	}
	writeKey(t, file, "late")
	sleep(rereadAfter)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
}

// TestWebIdentityIsRenewedWhenItExpires runs the chain against a token service that gives out a new key each time.
func TestWebIdentityIsRenewedWhenItExpires(t *testing.T) {
	g, file := newGate(t), cleanChain(t)
	tokens, given := []string{}, 0
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		tokens = append(tokens, r.Form.Get("WebIdentityToken"))
		given++
		expiry := time.Now().Add(time.Hour)
		if given == 1 {
			expiry = time.Now().Add(-time.Second) // expired already: the next request needs another
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
			<AccessKeyId>role%d</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
			<Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			given, expiry.UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	token := file + ".token"
	writeToken := func(content string) {
		if err := os.WriteFile(token, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeToken("first")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/leat")
	t.Setenv("AWS_ROLE_SESSION_NAME", "test")
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	s, _ := open(t, g.URL)
	g.accept("role1")
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	writeToken("second") // the platform rotates the token, too
	g.accept("role2")
	for range 3 {
		if err := put(s); err != nil {
			t.Fatal(err)
		}
	}
	if len(tokens) != 2 || tokens[0] != "first" || tokens[1] != "second" {
		t.Errorf("tokens shown: %q", tokens)
	}
}

func TestConfigIsChecked(t *testing.T) {
	cleanChain(t)
	for _, c := range []Config{{}, {Bucket: "b", Endpoint: "host:9000"}, {Bucket: "b"}} { // the last has no region
		if _, err := New(t.Context(), c); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestCABundleOfTheEnvironmentIsUsed(t *testing.T) {
	file := cleanChain(t)
	writeKey(t, file, "id")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Content-Sha256") != "UNSIGNED-PAYLOAD" {
			t.Errorf("over TLS the body needs no hash: %q", r.Header.Get("X-Amz-Content-Sha256"))
		}
		w.Header().Set("ETag", `"v"`)
	}))
	defer server.Close()
	bundle := file + ".pem"
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	s, _ := open(t, server.URL)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
}
