// Package minioproc runs a real MinIO as a process of its own, for tests, demos and benchmarks.
//
// It must never be used to keep anything: its key pair is public, and its folder belongs to whoever starts it. It listens on
// 127.0.0.1 only. The binary is .tools/minio beside go.mod, which `make tools` builds.
package minioproc

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/leat-stream/leat/localstack/proc"
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

	process *proc.Process
}

// Options says how Start runs MinIO. The zero value is what tests want.
type Options struct {
	Address string // 127.0.0.1:port; "" means a free port
	Bucket  string // created unless it exists; "" means "leat"

	// OwnGroup keeps Ctrl-C from the server, so that what uses it can end in order before Stop.
	OwnGroup bool
}

// Start runs MinIO over folder dir until Stop, waits until it is ready (for proc.Patience in all, or as long as ctx), and makes the
// bucket. The end of ctx after that does not stop it.
func Start(ctx context.Context, dir string, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, proc.Patience) // over all attempts: one that has not ended by then is the last
	defer cancel()
	if o.Bucket == "" {
		o.Bucket = "leat"
	}
	if o.Address != "" {
		return start(ctx, dir, o)
	}
	for attempt := 1; ; attempt++ { // another process may take the free port first
		var err error
		if o.Address, err = proc.FreeAddress(); err != nil {
			return nil, err
		}
		s, err := start(ctx, dir, o)
		if err == nil || attempt == 3 || ctx.Err() != nil {
			return s, err
		}
	}
}

func start(ctx context.Context, dir string, o Options) (*Server, error) {
	binary, err := proc.Tool("minio")
	if err != nil {
		return nil, err
	}
	// MinIO takes a folder of its own folder for a bucket, so no client is needed to make one.
	if err := os.MkdirAll(filepath.Join(dir, o.Bucket), 0o755); err != nil {
		return nil, fmt.Errorf("start MinIO: %w", err)
	}
	cmd := exec.Command(binary, "server", "--quiet", "--address", o.Address, "--console-address", "127.0.0.1:0", dir)
	cmd.Env = append(os.Environ(),
		"MINIO_ROOT_USER="+AccessKey, "MINIO_ROOT_PASSWORD="+SecretKey, "MINIO_REGION="+Region,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off", "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: o.OwnGroup}
	s := &Server{Address: o.Address, Bucket: o.Bucket}
	if s.process, err = proc.Start("MinIO at "+o.Address, cmd); err != nil {
		return nil, err
	}
	// The health of the whole: MinIO calls itself ready long before it answers requests, as a loaded machine shows.
	if err := s.process.Await(ctx, proc.Patience, proc.Answers(s.Endpoint()+"/minio/health/cluster")); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Stop kills the server and waits for its end. It may be called again.
func (s *Server) Stop() { s.process.Kill() }

// Signal sends the process a signal, unless it has ended.
func (s *Server) Signal(sig syscall.Signal) { s.process.Signal(sig) }

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

// Output is the last that the server printed.
func (s *Server) Output() string { return s.process.String() }

// PID is the server's process.
func (s *Server) PID() int { return s.process.PID() }
