package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/agent/brokers"
	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata"
	journal "github.com/leat-stream/leat/metadata/journal/mem"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what agents share: a bucket, and a replica that all of them ask.
type world struct {
	t       *testing.T
	ctx     context.Context // ends with the test, before parts is waited for, or by end
	end     context.CancelFunc
	parts   *sync.WaitGroup
	log     *slog.Logger
	keys    objectstore.Keys
	store   objectstore.Store
	replica *replica.Replica
	spread  bool // each agent coordinates the groups that the view gives it, not all
	holds   holds
}

// server is the handlers over real parts in memory: everything of an agent but connections.
type server struct {
	*Server
	t        *testing.T
	registry *prometheus.Registry
	client   wire.Request // of the client that asks; the header is filled in
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{t: t, ctx: ctx, end: cancel, parts: &sync.WaitGroup{}, log: slog.New(slog.DiscardHandler), store: mem.New()}
	t.Cleanup(func() {
		cancel()
		w.parts.Wait()
	})
	var err error
	w.keys, err = objectstore.NewKeys("c")
	must(t, err)
	w.replica, err = replica.Open(ctx, replica.Default(), journal.New().Open(), object.NewImages(w.store, w.keys), nil, w.log, nil)
	must(t, err)
	w.run(w.replica.Run)
	return w
}

func (w *world) run(part func(context.Context) error) {
	w.parts.Go(func() { _ = part(w.ctx) })
}

// newServer is the only agent of a world.
func newServer(t *testing.T) *server {
	t.Helper()
	return newWorld(t).agent(metadata.Identity{Session: state.UUID{1}, NodeID: -1, Agent: "agent", Zone: "z1"}, nil)
}

// agent starts an agent; edit may change what its handlers work on.
func (w *world) agent(who metadata.Identity, edit func(*Deps)) *server {
	w.t.Helper()
	t, reg := w.t, prometheus.NewRegistry()
	chunks, err := cache.Open(cache.Config{MemoryBytes: 64 << 20, ChunkBytes: 1 << 20, MaxGetBytes: 4 << 20, TailGets: 8, BackfillGets: 8},
		func(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
			o, err := w.store.Get(ctx, m.Key, objectstore.Range{Offset: m.Off, Length: m.N})
			return o.Reader, err
		}, w.log, reg)
	must(t, err)
	t.Cleanup(func() { _ = chunks.Close() })
	session := metadata.NewSession(w.replica, who, time.Now)
	must(t, session.Open(w.ctx))
	alive, err := brokers.New(w.ctx, w.replica, who.Session, time.Now)
	must(t, err)
	catalog, err := topics.New(topics.Default(), session)
	must(t, err)
	cfg := produce.Default()
	cfg.PredecessorWait = 50 * time.Millisecond // nobody has what a test leaves out
	cfg.EarlyPuts = -1
	producer, err := produce.New(cfg, produce.Deps{Session: session, Store: w.store, Keys: w.keys, Recent: chunks, Log: w.log, Register: reg})
	must(t, err)
	waiters := fetch.NewWaiters()
	fetcher, err := fetch.New(fetch.Default(), fetch.Deps{Metadata: w.replica, Chunks: chunks, Keys: w.keys, Waiters: waiters, Log: w.log, Register: reg})
	must(t, err)
	groups := group.Default()
	groups.InitialRebalanceDelay = time.Millisecond
	part := group.Deps{Door: holding{session, w}, Watch: w.replica.Watch, Log: w.log, Register: reg}
	if w.spread {
		part.Changed = alive.Changed
		part.Mine = func(id string) bool {
			b, ok := alive.View().Coordinator(id)
			return !ok || b.Session == who.Session
		}
	}
	coordinator := group.New(groups, part)
	for _, run := range []func(context.Context) error{
		session.Run, producer.Run, coordinator.Run, alive.Run, func(ctx context.Context) error { return waiters.Run(ctx, w.replica, 0) },
	} {
		w.run(run)
	}
	for errors.Is(coordinator.Heartbeat(w.ctx, group.HeartbeatRequest{Group: "g"}), group.ErrCoordinatorNotAvailable) {
		runtime.Gosched() // until its Run has begun
	}
	deps := Deps{
		Session: session, Catalog: catalog, Producer: producer, Fetcher: fetcher, Sessions: fetch.NewSessions(10, time.Now),
		Coordinator: coordinator, Log: w.log, Zone: who.Zone, Advertise: func(string) string { return "127.0.0.1:9092" },
		BrokerConfigs: []BrokerConfig{{Name: "num.partitions", Value: "1", Type: topicconfig.Int}}, Brokers: alive,
	}
	if edit != nil {
		edit(&deps)
	}
	return &server{Server: New(deps), t: t, registry: reg, client: wire.Request{
		Principal: wire.Anonymous, ClientID: "test", Host: "10.0.0.1", Listener: "default", Zone: who.Zone,
	}}
}

// begin hands a request to the handlers as wire does: encoded at its version and decoded again.
func (s *server) begin(req kmsg.Request) func() wire.Response {
	s.t.Helper()
	arrived := kmsg.RequestForKey(req.Key())
	arrived.SetVersion(req.GetVersion())
	if err := arrived.ReadFrom(req.AppendTo(nil)); err != nil {
		s.t.Fatalf("%s v%d: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	r := s.client
	r.Header = wire.Header{Key: req.Key(), Version: req.GetVersion()}
	return s.Begin(s.t.Context(), r, arrived)
}

// ask answers what a client decodes; nil if the connection is closed or nothing is sent.
func (s *server) ask(req kmsg.Request) kmsg.Response {
	s.t.Helper()
	return s.decode(req, s.begin(req)())
}

// decode is what a client makes of the answer to a request.
func (s *server) decode(req kmsg.Request, got wire.Response) kmsg.Response {
	s.t.Helper()
	if got.Close || got.NoReply {
		return nil
	}
	var body []byte
	if got.Body != nil {
		body = bytes.Join(got.Body, nil)
	} else {
		got.Message.SetVersion(req.GetVersion())
		body = got.Message.AppendTo(nil)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		s.t.Fatalf("%s v%d: the answer cannot be decoded: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return resp
}

// errorsOf is the names of all error codes in an answer, in order (of Metadata: of its topics), those of 0 as "ok"; "closed" for no answer.
func errorsOf(resp kmsg.Response) string {
	if resp == nil {
		return "closed"
	}
	var names []string
	if m, ok := resp.(*kmsg.MetadataResponse); ok { // whose partitions would only be noise
		for _, t := range m.Topics {
			names = append(names, errorName(t.ErrorCode))
		}
		return strings.Join(names, " ")
	}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Struct {
				for i := range v.Len() {
					walk(v.Index(i))
				}
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).Name == "ErrorCode" {
					names = append(names, errorName(int16(v.Field(i).Int())))
					continue
				}
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(resp))
	return strings.Join(names, " ")
}

func errorName(code int16) string {
	if err, ok := kerr.ErrorForCode(code).(*kerr.Error); ok {
		return err.Message
	}
	return "ok"
}

// create makes a topic.
func (s *server) create(name string, partitions int32, configs ...string) (id [16]byte) {
	s.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
	}
	req.Topics = append(req.Topics, t)
	got := s.ask(req).(*kmsg.CreateTopicsResponse).Topics[0]
	if got.ErrorCode != 0 {
		s.t.Fatal(errorName(got.ErrorCode), got.ErrorMessage)
	}
	return got.TopicID
}

// records is a batch with one record for each value, at times 1000, 1001, …
func records(t testing.TB, o batch.Options, values ...string) []byte {
	b := batch.NewBuilder(o)
	for i, value := range values {
		b.Append(1000+int64(i), []byte("k"), []byte(value))
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func produceOne(version int16, topic string, partition int32, bytes []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 10_000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: partition, Records: bytes}}}}
	return req
}

func (s *server) produce(topic string, partition int32, bytes []byte) kmsg.ProduceResponseTopicPartition {
	s.t.Helper()
	return s.ask(produceOne(12, topic, partition, bytes)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

func fetchOne(version int16, topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.ReplicaID, req.SessionEpoch = version, 1<<20, -1, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return req
}

// edited changes a request on its way into a table.
func edited[R kmsg.Request](req R, change func(R)) R {
	change(req)
	return req
}

func versionsLabel(req kmsg.Request) string {
	return fmt.Sprintf("%s v%d", kmsg.NameForKey(req.Key()), req.GetVersion())
}

func ptr[T any](v T) *T { return &v }
