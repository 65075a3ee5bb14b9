//go:build localstack

package localstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/leat-stream/leat/localstack/proc"
)

const (
	bucket  = "smoke-bucket"
	prefix  = "smoke/prefix"
	role    = "arn:aws:iam::000000000000:role/leat-agent"
	region  = "us-east-1"
	rootKey = "test" // LocalStack takes any secret for it

	// patience bounds every wait for something that must happen.
	patience = 4 * time.Minute
)

// TestMain gives the tests and all that they start an environment without anybody's AWS.
func TestMain(m *testing.M) {
	for _, setting := range os.Environ() {
		for i := range setting {
			if setting[i] == '=' {
				if i > 4 && setting[:4] == "AWS_" || i > 5 && setting[:5] == "LEAT_" {
					_ = os.Unsetenv(setting[:i])
				}
				break
			}
		}
	}
	os.Exit(m.Run())
}

// cloud is a LocalStack of the test's own.
type cloud struct {
	url     string
	process *proc.Process
	sts     *sts.Client
}

// newCloud runs localstack/up without a container and waits until its bucket and role are there. Whatever it asks of the internet is
// asked of a proxy, where it fails the test.
func newCloud(t *testing.T) *cloud {
	t.Helper()
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("LocalStack asks the internet: %s %s", r.Method, r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(outside.Close)
	address, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	c := &cloud{url: "http://" + address}
	cmd := exec.Command("./up", "--python")
	cmd.Env = append(os.Environ(), "PORT="+port, "LEAT_BUCKET="+bucket, "LEAT_PREFIX="+prefix, "LOCALSTACK_DIR="+t.TempDir(),
		"HTTP_PROXY="+outside.URL, "HTTPS_PROXY="+outside.URL, "http_proxy="+outside.URL, "https_proxy="+outside.URL,
		"NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // what it leaves behind, which stop sees, may hold its output
	if c.process, err = proc.Start("LocalStack", cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop(t) })
	c.sts = sts.New(sts.Options{
		Region: region, BaseEndpoint: &c.url,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: rootKey, SecretAccessKey: rootKey}, nil
		}),
	})
	var state struct {
		Completed bool
		Scripts   []struct{ Name, State string }
	}
	err = c.process.Await(t.Context(), patience, func(ctx context.Context) error { // its init hook makes bucket and role
		text, err := proc.Get(ctx, c.url+"/_localstack/init/ready")
		if err == nil {
			err = json.Unmarshal(text, &state)
		}
		if err == nil && !state.Completed {
			err = errors.New("its init hook is not done")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Scripts) != 1 || state.Scripts[0].State != "SUCCESSFUL" {
		t.Fatalf("init: %+v", state)
	}
	return c
}

// stopPatience is how long LocalStack may take to end by itself. It sometimes hangs in its own shutdown, and it keeps nothing.
const stopPatience = 10 * time.Second

// stop ends LocalStack as Ctrl-C does, or by force, and sees that nothing of it is left.
func (c *cloud) stop(t *testing.T) {
	err := c.process.Stop(stopPatience)
	group := -c.process.PID()
	if !errors.Is(err, proc.ErrKilled) {
		err := proc.Await(context.Background(), stopPatience, func(context.Context) error {
			if syscall.Kill(group, 0) == nil {
				return errors.New("LocalStack left processes")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	if t.Failed() {
		t.Logf("LocalStack said at last:\n%s", c.process)
	}
}

// assume gets temporary credentials of the role from the token service.
func (c *cloud) assume(ctx context.Context, holder string) (aws.Credentials, error) {
	out, err := c.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: &holder})
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("assume role: %w", err)
	}
	return aws.Credentials{
		AccessKeyID: aws.ToString(out.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken: aws.ToString(out.Credentials.SessionToken),
	}, nil
}

// issue gets credentials that the guard takes for a while.
func (c *cloud) issue(t *testing.T, g *guard, holder string, lifetime time.Duration) aws.Credentials {
	t.Helper()
	keys, err := c.assume(t.Context(), holder)
	if err != nil {
		t.Fatal(err)
	}
	g.admit(holder, keys, time.Now().Add(lifetime))
	return keys
}

const (
	// sdkWindow is how long before their end the SDK renews the credentials of a container.
	sdkWindow = 5 * time.Minute
	// renewAfter is when the SDK renews what the endpoint here gives out; the guard takes that for five times as long, as machines may be busy.
	renewAfter = 3 * time.Second
)

// containerEndpoint serves the credentials of a task as ECS and Fargate do, new ones for each question, to who knows the token. They
// expire soon, at the guard too.
type containerEndpoint struct {
	*httptest.Server
	mu    sync.Mutex
	given int
}

const taskToken = "the token of the task"

func newContainerEndpoint(t *testing.T, c *cloud, g *guard, holder string) *containerEndpoint {
	t.Helper()
	e := &containerEndpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != taskToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		keys, err := c.assume(r.Context(), holder)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		now := time.Now()
		g.admit(holder, keys, now.Add(5*renewAfter))
		e.mu.Lock()
		e.given++
		e.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]string{
			"RoleArn": role, "AccessKeyId": keys.AccessKeyID, "SecretAccessKey": keys.SecretAccessKey, "Token": keys.SessionToken,
			"Expiration": now.Add(sdkWindow + renewAfter).UTC().Format(time.RFC3339Nano),
		})
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *containerEndpoint) env() []string {
	return []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + e.URL + "/v2/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN=" + taskToken}
}

// credentialsFile writes a shared credentials file in one step, as whatever rotates it should.
func credentialsFile(t *testing.T, file string, keys aws.Credentials) {
	t.Helper()
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n",
		keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken)
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	err := proc.Await(t.Context(), patience, func(context.Context) error {
		if !holds() {
			return errors.New("it does not hold")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
