//go:build observe

package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/localstack/proc"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

// patience bounds every wait for something that must happen.
const patience = 90 * time.Second

// TestEveryQueryReturnsData runs every query of the dashboard, and every metric that an alert names, on a Prometheus that scrapes
// three agents with traffic and a group that lags. No alert's condition may hold for them.
func TestEveryQueryReturnsData(t *testing.T) {
	agents := startAgents(t, 3)
	stop := traffic(t, agents)
	defer stop()
	p := startPrometheus(t, agents)

	wanted := map[string]string{} // by what it is, the query
	d := readDashboard(t)
	for _, panel := range d.Panels {
		for _, q := range panel.Targets {
			wanted[panel.Title+" "+q.RefID] = fillIn(q.Expr)
		}
	}
	for _, v := range d.Templating.List {
		if query, ok := v.Query.(map[string]any); ok {
			wanted["variable "+v.Name] = values(t, query["query"].(string))
		}
	}
	for _, r := range readRules(t) {
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			wanted["alert "+r.Alert+": "+name] = name
		}
	}
	if len(wanted) < 100 {
		t.Fatalf("only %d queries: they are not found any more", len(wanted))
	}
	t.Logf("%d queries", len(wanted))
	missing := maps.Clone(wanted)
	eventually(t, func() string { return fmt.Sprintf("these return nothing: %v", lines(missing)) }, func() bool {
		for what, query := range missing {
			if p.has(t, query) {
				delete(missing, what)
			}
		}
		return len(missing) == 0
	})
	holds := ""
	eventually(t, func() string { return "an alert's condition holds for agents that are in order: " + holds }, func() bool {
		for _, r := range readRules(t) {
			if got := p.query(t, r.Expr); len(got) > 0 {
				holds = fmt.Sprint(r.Alert, got)
				return false
			}
		}
		return true
	})
	p.healthyRules(t)
	if p.has(t, `leat_no_such_metric{instance=~".*"}`) {
		t.Error("what does not exist has data: this test sees nothing")
	}
}

var metricName = regexp.MustCompile(`\b(?:leat|process|go)_\w+`)

// fillIn replaces what Grafana replaces.
func fillIn(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5s", "$instance", ".+", "$cluster", "leat").Replace(expr)
}

// values is a query for what label_values(METRIC, LABEL) lists.
func values(t *testing.T, call string) string {
	m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(call)
	if m == nil {
		t.Fatalf("variable %q", call)
	}
	return fmt.Sprintf("group by (%s) (%s)", m[2], fillIn(m[1]))
}

func lines(m map[string]string) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "\n\t%s: %s", what, m[what])
	}
	return b.String()
}

// startAgents starts agents of one cluster on a MinIO.
func startAgents(t *testing.T, n int) []*agentproc.Agent {
	binary, err := filepath.Abs("../../bin/leat")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: make observe builds it", err)
	}
	server := miniotest.Start(t)
	var agents []*agentproc.Agent
	for i := range n {
		a, err := agentproc.Start(t.Context(), agentproc.Options{
			Binary: binary, Store: server.S3URL("observe"), Env: server.Env(), Log: &testLog{t: t},
			Args: []string{"--name", fmt.Sprint("agent-", i), "--cache-memory", "64MiB", "--cache-dir", t.TempDir(), "--log-format", "json"},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := a.Stop(); err != nil {
				t.Error(err)
			}
		})
		agents = append(agents, a)
	}
	return agents
}

// testLog tells what agents say if the test fails.
type testLog struct {
	t  *testing.T
	mu sync.Mutex
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// traffic produces to a topic and consumes it by a group, and by one that committed once and reads no more, until stop.
func traffic(t *testing.T, agents []*agentproc.Agent) (stop func()) {
	var seeds []string
	for _, a := range agents {
		seeds = append(seeds, a.Address)
	}
	client := func(opts ...kgo.Opt) *kgo.Client {
		c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("orders")}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	producer := client()
	admin := kadm.NewClient(producer)
	if _, err := admin.CreateTopic(t.Context(), 6, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	late := kadm.Offsets{}
	for p := range int32(6) {
		late.AddOffset("orders", p, 0, -1)
	}
	if err := admin.CommitAllOffsets(t.Context(), "late", late); err != nil {
		t.Fatal(err)
	}
	consumer := client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitInterval(500*time.Millisecond))
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	every := func(d time.Duration, do func()) {
		parts.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for ctx.Err() == nil {
				do()
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	every(50*time.Millisecond, func() {
		for n := range 20 {
			producer.Produce(ctx, &kgo.Record{Key: strconv.AppendInt(nil, int64(n), 10), Value: make([]byte, 500)}, func(_ *kgo.Record, err error) {
				if err != nil && ctx.Err() == nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
	})
	every(time.Millisecond, func() { consumer.PollFetches(ctx) })
	every(time.Second, func() { // whose answers are errors
		_, _ = admin.DeleteGroup(ctx, "nobody")
		_, _ = producer.Request(ctx, refused())
	})
	return func() {
		cancel()
		parts.Wait()
		consumer.CloseAllowingRebalance()
		producer.Close()
	}
}

// refused is a request to produce that every broker refuses: no acknowledgement of that kind exists.
func refused() kmsg.Request {
	r := kmsg.NewPtrProduceRequest()
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "orders"
	topic.Partitions = append(topic.Partitions, kmsg.NewProduceRequestTopicPartition())
	r.Acks, r.TimeoutMillis, r.Topics = 7, 1000, append(r.Topics, topic)
	return r
}

// server is a Prometheus.
type server struct{ url string }

// startPrometheus starts one that scrapes the agents once a second, with the alert rules, until the test ends.
func startPrometheus(t *testing.T, agents []*agentproc.Agent) *server {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v: localstack/observe/setup installs it", err)
	}
	dir := t.TempDir()
	rules, err := filepath.Abs("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, a := range agents {
		targets = append(targets, a.HTTP)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n"+
		"- job_name: leat\n  static_configs: [{targets: [%s]}]\n", rules, strings.Join(targets, ", "))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	address, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address, "--log.level", "warn")
	process, err := proc.Start("Prometheus", cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Stop(patience); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Prometheus said at last:\n%s", process)
		}
	})
	p := &server{url: "http://" + address}
	if err := process.Await(t.Context(), patience, proc.Answers(p.url+"/-/ready")); err != nil {
		t.Fatal(err)
	}
	return p
}

// query answers the values by labels.
func (p *server) query(t *testing.T, query string) map[string]float64 {
	t.Helper()
	body, err := proc.Get(t.Context(), p.url+"/api/v1/query?query="+url.QueryEscape(query))
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v: %s", query, err, body)
	}
	got := map[string]float64{}
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		got[fmt.Sprint(r.Metric)] = value
	}
	return got
}

// has reports whether a query returns at least one number.
func (p *server) has(t *testing.T, query string) bool {
	t.Helper()
	for _, value := range p.query(t, query) {
		if !math.IsNaN(value) {
			return true
		}
	}
	return false
}

// healthyRules fails the test if a rule cannot be evaluated.
func (p *server) healthyRules(t *testing.T) {
	t.Helper()
	var body []byte
	eventually(t, func() string { return fmt.Sprintf("not all rules are in order: %s", body) }, func() bool {
		body, _ = proc.Get(t.Context(), p.url+"/api/v1/rules")
		return strings.Count(string(body), `"health":"ok"`) == len(readRules(t))
	})
}

// eventually waits until a condition holds; why says what does not.
func eventually(t *testing.T, why func() string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, why())
		}
	}
}
