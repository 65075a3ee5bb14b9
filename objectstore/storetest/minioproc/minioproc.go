// Package minioproc runs a real MinIO as a process of its own, for tests, demos and benchmarks.
//
// It must never be used to keep anything: its key pair is public, and its folder belongs to whoever starts it. It listens on
// 127.0.0.1 only. The binary is .tools/minio beside go.mod, which `make tools` builds.
package minioproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The key pair of every server started here.
const (
	AccessKey = "leat-test"
	SecretKey = "leat-test-secret"
	Region    = "us-east-1"
)

// Server is a running MinIO. Its fields are set once.
type Server struct {
	Address string // host:port
	Bucket  string // exists

	process *exec.Cmd
	exited  chan struct{} // closed when the process has ended
	output  *tail
	stop    sync.Once
}

// Options says how Start runs MinIO. The zero value is what tests want.
type Options struct {
	Binary  string // "" means FindBinary
	Address string // 127.0.0.1:port; "" means a free port
	Bucket  string // created unless it exists; "" means "leat"

	// OwnGroup keeps Ctrl-C from the server, so that what uses it can end in order before Stop.
	OwnGroup bool
}

// FindBinary answers .tools/minio beside the go.mod that governs the working directory.
func FindBinary() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			binary := filepath.Join(dir, ".tools", "minio")
			if _, err := os.Stat(binary); err != nil {
				return "", fmt.Errorf("no MinIO at %s: run `make tools`", binary)
			}
			return binary, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory, so no .tools/minio")
		}
		dir = filepath.Dir(dir)
	}
}

// Start runs MinIO over folder dir until Stop, waits until it is ready (at most 30 s, or as long as ctx), and makes the bucket.
// The end of ctx after that does not stop it.
func Start(ctx context.Context, dir string, o Options) (*Server, error) {
	if o.Binary == "" {
		var err error
		if o.Binary, err = FindBinary(); err != nil {
			return nil, err
		}
	}
	if o.Bucket == "" {
		o.Bucket = "leat"
	}
	if o.Address != "" {
		return start(ctx, dir, o)
	}
	for attempt := 1; ; attempt++ { // another process may take the free port first
		var err error
		if o.Address, err = freeAddress(); err != nil {
			return nil, err
		}
		s, err := start(ctx, dir, o)
		if err == nil || attempt == 3 || ctx.Err() != nil {
			return s, err
		}
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func start(ctx context.Context, dir string, o Options) (*Server, error) {
	// MinIO takes a folder of its own folder for a bucket, so no client is needed to make one.
	if err := os.MkdirAll(filepath.Join(dir, o.Bucket), 0o755); err != nil {
		return nil, fmt.Errorf("start MinIO: %w", err)
	}
	s := &Server{Address: o.Address, Bucket: o.Bucket, exited: make(chan struct{}), output: &tail{}}
	s.process = exec.Command(o.Binary, "server", "--quiet", "--address", o.Address, "--console-address", "127.0.0.1:0", dir)
	s.process.Env = append(os.Environ(),
		"MINIO_ROOT_USER="+AccessKey, "MINIO_ROOT_PASSWORD="+SecretKey, "MINIO_REGION="+Region,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off", "HOME="+dir)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.SysProcAttr = attributes(o.OwnGroup)
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("start MinIO: %w", err)
	}
	go func() { // owned by s; ends with the process, which Stop kills
		_ = s.process.Wait()
		close(s.exited)
	}()
	if err := s.wait(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("MinIO at %s: %w; it said: %s", o.Address, err, s.output)
	}
	return s, nil
}

// wait waits until the server is ready.
func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !s.ready(ctx) {
		select {
		case <-s.exited:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// ready asks for the health of the whole: MinIO calls itself ready long before it answers requests, as a loaded machine shows.
func (s *Server) ready(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint()+"/minio/health/cluster", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK
}

// Stop kills the server and waits for its end. It may be called again.
func (s *Server) Stop() {
	s.stop.Do(func() { _ = s.process.Process.Kill() })
	<-s.exited
}

// Endpoint is the server's http URL.
func (s *Server) Endpoint() string { return "http://" + s.Address }

// S3URL is what storeurl.Open takes for the s3 driver, with every key below prefix, which may be "".
func (s *Server) S3URL(prefix string) string {
	query := url.Values{"endpoint": {s.Endpoint()}, "region": {Region}, "path_style": {"true"}}
	return (&url.URL{Scheme: "s3", Host: s.Bucket, Path: "/" + prefix, RawQuery: query.Encode()}).String()
}

// MinioURL is what storeurl.Open takes for the minio driver, with every key below prefix, which may be "".
func (s *Server) MinioURL(prefix string) string {
	u := url.URL{Scheme: "minio", Host: s.Address, Path: "/" + s.Bucket + "/" + prefix, RawQuery: "tls=false"}
	return u.String()
}

// Env is the environment with which both drivers find the key pair, as "NAME=value".
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey}
}

// Setenv puts Env into the environment of this process, and so of those that it starts.
func (s *Server) Setenv() error {
	for _, setting := range s.Env() {
		name, value, _ := strings.Cut(setting, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// CPU answers the processor time, user and system, that the server used; only after Stop.
func (s *Server) CPU() time.Duration {
	if s.process.ProcessState == nil {
		return 0
	}
	return s.process.ProcessState.UserTime() + s.process.ProcessState.SystemTime()
}

// PID is the server's process.
func (s *Server) PID() int { return s.process.Process.Pid }

// tail keeps the last few KiB of what a process prints.
type tail struct {
	mu   sync.Mutex
	data []byte // guarded by mu; at most tailSize, older bytes are dropped
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if len(t.data) > tailSize {
		t.data = append(t.data[:0], t.data[len(t.data)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.data))
}
