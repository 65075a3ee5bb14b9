package agent_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

// patience bounds every wait for something that must happen, on a machine that is as slow as may be.
const patience = 2 * time.Minute

// running is an agent that runs in this process until the test ends, or stop is called.
type running struct {
	t    *testing.T
	addr string // of its Kafka listener
	http string
	logs *logs
	stop func() // drains it; the test fails unless it ends without an error
}

// config is an agent's configuration for tests: free ports, little memory, no wait for further members of a group.
func config(store, journal string) agent.Config {
	cfg := agent.Default()
	cfg.Store, cfg.Journal, cfg.HTTP = store, journal, "127.0.0.1:0"
	cfg.Wire.Listeners = []wire.Listener{{Name: "default", Address: "127.0.0.1:0"}}
	cfg.Cache.MemoryBytes = 48 << 20
	cfg.Group.InitialRebalanceDelay = 10 * time.Millisecond
	cfg.Tune()
	return cfg
}

// start opens and runs an agent.
func start(t *testing.T, cfg agent.Config) *running {
	t.Helper()
	text := &logs{}
	a, err := agent.Open(t.Context(), cfg, slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	return runs(t, a, text)
}

// runs runs an agent that logs there.
func runs(t *testing.T, a *agent.Agent, text *logs) *running {
	t.Helper()
	r := &running{t: t, logs: text, addr: a.Addr("default"), http: a.HTTPAddr()}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }() // ends with stop, which the test's end calls
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the agent ended with: %v", err)
			}
		case <-time.After(patience):
			t.Error("the agent did not stop")
		}
	})
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("the agent's log:\n%s", r.logs)
		}
	})
	eventually(t, "the agent is ready", func() bool { return r.get("/readyz") == "serving\n" })
	return r
}

// ground is where agents keep everything; url makes a new place.
type ground struct {
	name string
	url  func(t *testing.T) (store, journal string)
}

// grounds are the stores that every client test runs on: a folder with bbolt, and a real MinIO through both drivers.
func grounds(t *testing.T) []ground {
	server := miniotest.Start(t)
	n := 0
	fresh := func() string { n++; return fmt.Sprintf("place-%d", n) }
	return []ground{
		{"file and bolt", func(t *testing.T) (string, string) { return "file://" + t.TempDir() + "/bucket", "" }},
		{"s3 and bucket", func(*testing.T) (string, string) { return server.S3URL(fresh()), "bucket:" }},
		{"minio and bucket", func(*testing.T) (string, string) { return server.MinioURL(fresh()), "" }},
	}
}

// client makes a kgo client that is closed when the test ends.
func (r *running) client(opts ...kgo.Opt) *kgo.Client {
	r.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(r.addr), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return cl
}

// get answers the body of a page of the agent's HTTP listener, "" if there is none.
func (r *running) get(path string) string {
	req, err := http.NewRequest(http.MethodGet, "http://"+r.http+path, nil)
	if err != nil {
		return ""
	}
	req.Header.Set("Accept-Encoding", "identity") // compressing a page costs both sides more than sending it
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// metric sums the samples of a metric whose labels contain all parts.
func (r *running) metric(name string, parts ...string) float64 {
	return sum(r.get("/metrics"), name, parts...)
}

// sum is metric for several metrics of one page.
func sum(page, name string, parts ...string) (sum float64) {
	for line := range strings.Lines(page) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if rest, ok := strings.CutPrefix(series, name); !ok || rest != "" && rest[0] != '{' {
			continue
		}
		fits := true
		for _, part := range parts {
			fits = fits && strings.Contains(series, part)
		}
		if n, err := strconv.ParseFloat(value, 64); err == nil && fits {
			sum += n
		}
	}
	return sum
}

// topic creates a topic with configs given as "name=value".
func (r *running) topic(name string, partitions int32, configs ...string) {
	r.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 3
	for _, c := range configs {
		key, value, _ := strings.Cut(c, "=")
		topic.Configs = append(topic.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: key, Value: &value})
	}
	req.Topics = append(req.Topics, topic)
	req.SetVersion(7)
	resp := ask(r.dial(), req).(*kmsg.CreateTopicsResponse)
	if code := resp.Topics[0].ErrorCode; code != 0 {
		r.t.Fatalf("create topic %q: error %d", name, code)
	}
}

// conn is a raw connection: what a real client hides.
type conn struct {
	net.Conn
	t    *testing.T
	next int32
}

func (r *running) dial() *conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return &conn{Conn: c, t: r.t}
}

// send writes a request at the version that it has been given.
func (c *conn) send(req kmsg.Request) {
	c.t.Helper()
	c.next++
	c.write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw")).AppendRequest(nil, req, c.next))
}

func (c *conn) write(b []byte) {
	c.t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// frame reads one answer without its length, or fails.
func (c *conn) frame() ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, body)
	return body, err
}

// receive reads the answer to req.
func (c *conn) receive(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	body, err := c.frame()
	if err != nil {
		c.t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
	body = body[4:]
	if req.IsFlexible() && req.Key() != kmsg.ApiVersions.Int16() {
		body = body[1:]
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		c.t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
	return resp
}

// ask sends req and reads its answer.
func ask(c *conn, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.send(req)
	return c.receive(req)
}

// closed fails the test unless the other side closes the connection without another byte.
func (c *conn) closed() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var b [1]byte
	n, err := c.Read(b[:])
	if timeout, ok := err.(net.Error); n > 0 || ok && timeout.Timeout() {
		c.t.Fatalf("the connection was not closed: %d bytes, %v", n, err)
	}
}

// produce sends records to partition 0 of a topic, as they are, and answers what became of them.
func (c *conn) produce(topic string, records []byte) kmsg.ProduceResponseTopicPartition {
	c.t.Helper()
	req := produceRequest(topic, records)
	return ask(c, req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

func produceRequest(topic string, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(12)
	req.Acks, req.TimeoutMillis = -1, 30_000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rt.Topic, rp.Records = topic, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// fetchRequest asks for one partition of a topic from an offset on.
func fetchRequest(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.ReplicaID, req.MaxBytes, req.MinBytes, req.SessionEpoch = -1, 50<<20, 1, -1
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = topic, partition, offset, 10<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// fetch answers one partition.
func (c *conn) fetch(topic string, offset int64) kmsg.FetchResponseTopicPartition {
	c.t.Helper()
	return ask(c, fetchRequest(topic, 0, offset)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
}

// reseal corrects a batch's checksum after its bytes were changed.
func reseal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// eventually waits until a condition holds. It does not look more often, since most conditions are a page of metrics.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// logs keeps what an agent logs.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
