//go:build localstack

package localstack

import (
	"bytes"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

// TestAgentsOnAWS tries agents on a LocalStack with a bucket and a role.
func TestAgentsOnAWS(t *testing.T) {
	c := newCloud(t)
	allowed, err := readPolicy(bucket, prefix)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(t, c.url, allowed)
	t.Run("the role is confined", func(t *testing.T) { confined(t, c, g) })
	t.Run("agents serve", func(t *testing.T) { serve(t, c, g) })
}

// serve: three agents, each with another way to the role's credentials, serve a producer while credentials run out and one
// agent is killed. Every record is there once, in order; the bucket holds nothing outside of the role's prefix.
func serve(t *testing.T, c *cloud, g *guard) {
	began := time.Now()
	passed := func(what string) { t.Logf("after %.1f s: %s", time.Since(began).Seconds(), what) }
	file := filepath.Join(t.TempDir(), "credentials")
	credentialsFile(t, file, c.issue(t, g, "file", time.Hour))
	endpoint := newContainerEndpoint(t, c, g, "container")
	first := startAgent(t, g, "environment", keysEnv(c.issue(t, g, "environment", time.Hour)))
	second := startAgent(t, g, "file", []string{"AWS_SHARED_CREDENTIALS_FILE=" + file})
	third := startAgent(t, g, "container", endpoint.env())
	all := []string{first.Address, second.Address, third.Address}

	r := startTraffic(t, "smoke", all)
	r.flows(t, 500)
	passed("three agents serve")

	eventually(t, "the container's credentials were renewed twice before they ran out", func() bool {
		used, late := g.usage("container")
		if late > 0 {
			t.Fatalf("%d requests with credentials of the container that had run out", late)
		}
		return used >= 3
	})
	r.flows(t, 100)
	passed("the container's credentials were renewed")

	// The agent is refused, reads its file again and goes on.
	fresh := c.issue(t, g, "file", time.Hour)
	credentialsFile(t, file, fresh)
	g.retire("file", fresh)
	eventually(t, "the agent uses the new credentials in its file", func() bool {
		used, late := g.usage("file")
		return used == 2 && late > 0
	})
	r.flows(t, 500)
	passed("the file's credentials were changed")

	first.Kill() // the oldest, so the metadata leader
	r.flows(t, 500)
	passed("an agent was killed, the others serve")
	r.finish(t, all[1:])
	for _, denial := range g.forbidden() {
		t.Errorf("an agent wanted what the policy forbids: %s", denial)
	}
	for _, agent := range []*agentproc.Agent{second, third} {
		if err := agent.Stop(); err != nil {
			t.Error(err)
		}
	}
	c.inspect(t)
}

// confined: with the role's credentials an agent cannot serve from beside its prefix or from another bucket, nor anywhere with
// credentials that have run out or that somebody made up. It says so in one line and ends.
func confined(t *testing.T, c *cloud, g *guard) {
	held := c.issue(t, g, "environment", time.Hour)
	expired := c.issue(t, g, "expired", 0)
	madeUp := held
	madeUp.SecretAccessKey = "somebody's guess"
	for _, refused := range []struct {
		name, place string
		keys        aws.Credentials
	}{
		{"another prefix", bucket + "/other", held},
		{"a prefix that begins alike", bucket + "/" + prefix + "2", held},
		{"another bucket", "other/" + prefix, held},
		{"expired", bucket + "/" + prefix, expired},
		{"wrong secret", bucket + "/" + prefix, madeUp},
	} {
		t.Run(refused.name, func(t *testing.T) {
			var said lockedBuffer
			agent, err := agentproc.Launch(agentproc.Options{
				Binary: leat, Store: g.store(refused.place), Env: keysEnv(refused.keys), Log: &said, Args: []string{"--journal", "bucket:"},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(agent.Kill)
			select {
			case <-agent.Exited():
			case <-time.After(patience):
				t.Fatal("it does not end")
			}
			if err := agent.Stop(); err == nil {
				t.Error("it exits 0")
			}
			if text := said.String(); !strings.Contains(text, "access denied") || strings.Count(text, "leat: ") != 1 {
				t.Errorf("it says:\n%s", text)
			}
		})
	}
	if keys := c.list(t); len(keys) > 0 {
		t.Errorf("in the bucket: %v", keys)
	}
	if len(g.forbidden()) == 0 {
		t.Error("the policy forbade nothing")
	}
}

// leat is the built binary: `make localstack` builds it.
const leat = "../bin/leat"

// store is the URL of a place behind the guard.
func (g *guard) store(place string) string {
	return "s3://" + place + "?" + url.Values{"endpoint": {g.URL}, "region": {region}, "path_style": {"true"}}.Encode()
}

func keysEnv(keys aws.Credentials) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + keys.SecretAccessKey, "AWS_SESSION_TOKEN=" + keys.SessionToken,
	}
}

// startAgent starts an agent and waits until it serves. It is killed at the end of the test if it still runs.
func startAgent(t *testing.T, g *guard, name string, env []string) *agentproc.Agent {
	t.Helper()
	var said lockedBuffer
	agent, err := agentproc.Start(t.Context(), agentproc.Options{
		Binary: leat, Store: g.store(bucket + "/" + prefix), Log: &said,
		Env:  append([]string{"HOME=" + t.TempDir(), "AWS_EC2_METADATA_DISABLED=true"}, env...),
		Args: []string{"--journal", "bucket:", "--name", name, "--cache-memory", "48MiB"},
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent with credentials from %s said:\n%s", name, said.String())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Kill)
	return agent
}

// list answers all keys of a bucket, asked of LocalStack itself.
func (c *cloud) list(t *testing.T) (keys []string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", rootKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", rootKey)
	query := url.Values{"endpoint": {c.url}, "region": {region}, "path_style": {"true"}}
	store, err := storeurl.Open(t.Context(), "s3://"+bucket+"?"+query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// inspect lists the bucket: every object is one of the cluster's, and those that must be there are.
func (c *cloud) inspect(t *testing.T) {
	t.Helper()
	names, err := objectstore.NewKeys("leat")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, full := range c.list(t) {
		key, ours := strings.CutPrefix(full, prefix+"/")
		_, journal := names.ParseJournal(key)
		_, data := names.ParseData(key)
		_, _, _, snapshot := names.ParseSnapshot(key)
		switch {
		case !ours:
			t.Errorf("outside of the prefix: %s", full)
		case key == names.Head():
			kinds["head"]++
		case key == names.Secret():
			kinds["secret"]++
		case journal == nil:
			kinds["journal"]++
		case data == nil:
			kinds["data"]++
		case snapshot == nil:
			kinds["snapshot"]++
		default:
			t.Errorf("not a name of the cluster: %s", full)
		}
	}
	if kinds["head"] != 1 || kinds["secret"] != 1 || kinds["journal"] == 0 || kinds["data"] == 0 {
		t.Errorf("in the bucket: %v", kinds)
	}
	t.Logf("in the bucket: %v", kinds)
}

// lockedBuffer keeps what a process prints.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
