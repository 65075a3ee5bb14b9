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

// server is the handlers over real parts in memory: everything of an agent but connections.
type server struct {
	*Server
	t        *testing.T
	registry *prometheus.Registry
}

func newServer(t *testing.T) *server {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	keys, err := objectstore.NewKeys("c")
	must(err)
	store := mem.New()
	rep, err := replica.Open(ctx, replica.Default(), journal.New().Open(), object.NewImages(store, keys), nil, log, reg)
	must(err)
	chunks, err := cache.Open(cache.Config{MemoryBytes: 64 << 20, ChunkBytes: 1 << 20, MaxGetBytes: 4 << 20, TailGets: 8, BackfillGets: 8},
		func(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
			o, err := store.Get(ctx, m.Key, objectstore.Range{Offset: m.Off, Length: m.N})
			return o.Reader, err
		}, log, reg)
	must(err)
	t.Cleanup(func() { _ = chunks.Close() })
	session := metadata.NewSession(rep, metadata.Identity{Session: state.UUID{1}, NodeID: -1, Agent: "agent"}, time.Now)
	wg.Go(func() { _ = rep.Run(ctx) })
	must(session.Open(ctx))
	catalog, err := topics.New(topics.Default(), session)
	must(err)
	cfg := produce.Default()
	cfg.EarlyPuts = -1
	producer, err := produce.New(cfg, produce.Deps{Session: session, Store: store, Keys: keys, Recent: chunks, Log: log, Register: reg})
	must(err)
	waiters := fetch.NewWaiters()
	fetcher, err := fetch.New(fetch.Default(), fetch.Deps{Metadata: rep, Chunks: chunks, Keys: keys, Waiters: waiters, Log: log, Register: reg})
	must(err)
	groups := group.Default()
	groups.InitialRebalanceDelay = time.Millisecond
	coordinator := group.New(groups, session, log, reg)
	for _, run := range []func(context.Context) error{
		session.Run, producer.Run, coordinator.Run, func(ctx context.Context) error { return waiters.Run(ctx, rep, 0) },
	} {
		wg.Go(func() { _ = run(ctx) })
	}
	for errors.Is(coordinator.Heartbeat(ctx, group.HeartbeatRequest{Group: "g"}), group.ErrCoordinatorNotAvailable) {
		runtime.Gosched() // until its Run has begun
	}
	s := New(Deps{
		Session: session, Catalog: catalog, Producer: producer, Fetcher: fetcher, Sessions: fetch.NewSessions(10, time.Now),
		Coordinator: coordinator, Log: log, Zone: "z1", Advertise: func(string) string { return "127.0.0.1:9092" },
		BrokerConfigs: []BrokerConfig{{Name: "num.partitions", Value: "1", Type: topicconfig.Int}},
	})
	return &server{Server: s, t: t, registry: reg}
}

// begin hands a request to the handlers as wire does: encoded at its version and decoded again.
func (s *server) begin(req kmsg.Request) func() wire.Response {
	s.t.Helper()
	arrived := kmsg.RequestForKey(req.Key())
	arrived.SetVersion(req.GetVersion())
	if err := arrived.ReadFrom(req.AppendTo(nil)); err != nil {
		s.t.Fatalf("%s v%d: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return s.Begin(s.t.Context(), wire.Request{
		Header:    wire.Header{Key: req.Key(), Version: req.GetVersion()},
		Principal: wire.Anonymous, ClientID: "test", Host: "10.0.0.1", Listener: "default",
	}, arrived)
}

// ask answers what a client decodes; nil if the connection is closed or nothing is sent.
func (s *server) ask(req kmsg.Request) kmsg.Response {
	s.t.Helper()
	got := s.begin(req)()
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
