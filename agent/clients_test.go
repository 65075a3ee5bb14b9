package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/agent/batch"
)

const partitions = 3

var codecs = []struct {
	name string
	of   kgo.CompressionCodec
}{
	{"none", kgo.NoCompression()}, {"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()},
	{"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()},
}

// corpus makes n records for a topic, spread over its partitions: with and without key, value and headers, with timestamps
// that go back and forth.
func corpus(topic string, n int) []*kgo.Record {
	begin := time.UnixMilli(1_700_000_000_000)
	records := make([]*kgo.Record, n)
	for i := range records {
		r := &kgo.Record{
			Topic: topic, Partition: int32(i % partitions),
			Key: fmt.Appendf(nil, "key %d", i), Value: bytes.Repeat(fmt.Appendf(nil, "value %d of %s; ", i, topic), i%7),
			Timestamp: begin.Add(time.Duration(i%11*1000+i) * time.Millisecond),
		}
		switch i % 5 {
		case 1:
			r.Key = nil
		case 2:
			r.Value = nil
		case 3:
			r.Headers = []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}}
		}
		records[i] = r
	}
	return records
}

// produceAll sends the records in order and fails unless each is acknowledged; offsets are filled in.
func produceAll(t *testing.T, cl *kgo.Client, records []*kgo.Record) {
	t.Helper()
	for _, r := range records {
		cl.Produce(t.Context(), r, func(r *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce to %s/%d: %v", r.Topic, r.Partition, err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// consume polls until n records are there, and answers them as they came.
func consume(t *testing.T, cl *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []*kgo.Record
	for len(got) < n {
		fetches := cl.PollRecords(ctx, n-len(got))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(got), n, err)
		}
		got = append(got, fetches.Records()...)
	}
	return got
}

// same fails the test unless got is want, partition by partition: order, offsets, and every byte.
func same(t *testing.T, got, want []*kgo.Record) {
	t.Helper()
	byPartition := func(records []*kgo.Record) map[string][]string {
		m := map[string][]string{}
		for _, r := range records {
			p := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
			m[p] = append(m[p], fmt.Sprintf("offset %d time %d key %q %t value %q %t headers %q",
				r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Key == nil, r.Value, r.Value == nil, r.Headers))
		}
		return m
	}
	g, w := byPartition(got), byPartition(want)
	for p := range w {
		if !slices.Equal(g[p], w[p]) {
			for i := range max(len(g[p]), len(w[p])) {
				if i >= len(g[p]) || i >= len(w[p]) || g[p][i] != w[p][i] {
					t.Fatalf("%s: %d records, want %d; the first that differs is %d:\n%v\nwant\n%v",
						p, len(g[p]), len(w[p]), i, g[p][i:min(i+1, len(g[p]))], w[p][i:min(i+1, len(w[p]))])
				}
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

func TestEveryCodecComesBackAsItWas(t *testing.T) {
	for _, g := range grounds(t) {
		t.Run(g.name, func(t *testing.T) {
			cfg := config(g.url(t))
			r := start(t, cfg)
			var all []*kgo.Record
			for _, codec := range codecs {
				topic := "codec-" + codec.name
				r.topic(topic, partitions)
				cl := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codec.of))
				records := corpus(topic, 300)
				produceAll(t, cl, records[:200])
				produceAll(t, cl, records[200:]) // another object
				all = append(all, records...)
			}
			read := func(r *running) {
				t.Helper()
				cl := r.client(kgo.ConsumeRegex(), kgo.ConsumeTopics("codec-.*"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
				same(t, consume(t, cl, len(all)), all)
				cl.Close()
			}
			read(r)
			r.stop()
			read(start(t, cfg)) // nothing is left of the first but the bucket
		})
	}
}

func TestStoredBatchesKeepTheirCodec(t *testing.T) {
	r := start(t, config("mem:", ""))
	for i, codec := range codecs {
		r.topic(codec.name, 1)
		cl := r.client(kgo.ProducerBatchCompression(codec.of))
		produceAll(t, cl, []*kgo.Record{{Topic: codec.name, Value: bytes.Repeat([]byte("again and "), 1000)}})
		v, err := batch.At(r.dial().fetch(codec.name, 0).RecordBatches)
		if err != nil {
			t.Fatal(err)
		}
		if v.Attributes().Codec() != batch.Codec(i) {
			t.Errorf("%s is stored as %s", codec.name, v.Attributes().Codec())
		}
	}
}

func TestGroupResumesWhereItCommitted(t *testing.T) {
	for _, g := range grounds(t) {
		t.Run(g.name, func(t *testing.T) {
			cfg := config(g.url(t))
			r := start(t, cfg)
			r.topic("words", partitions)
			want := corpus("words", 400)
			produceAll(t, r.client(kgo.RecordPartitioner(kgo.ManualPartitioner())), want)
			join := func(r *running) *kgo.Client {
				return r.client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("words"), kgo.DisableAutoCommit(),
					kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			}
			var got []*kgo.Record
			for _, n := range []int{150, 100} { // a member that leaves, then one that comes, and the agent goes with it
				cl := join(r)
				part := consume(t, cl, n)
				if err := cl.CommitRecords(t.Context(), part...); err != nil {
					t.Fatal(err)
				}
				got = append(got, part...)
				cl.Close()
			}
			r.stop()
			r = start(t, cfg)
			got = append(got, consume(t, join(r), 150)...)
			same(t, got, want)
		})
	}
}

func TestIdempotentProducersRepeatWithoutHarm(t *testing.T) {
	cfg := config("mem:", "")
	cfg.Produce.PredecessorWait = 100 * time.Millisecond // the gap is never filled
	r := start(t, cfg)
	r.topic("once", 1)
	sequenced := func(id int64, epoch int16, sequence int32, n int) []byte {
		b := batch.NewBuilder(batch.Options{Producer: &batch.Producer{ID: id, Epoch: epoch, BaseSequence: sequence}})
		for i := range n {
			b.Append(time.Now().UnixMilli(), nil, fmt.Append(nil, sequence+int32(i)))
		}
		v, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	cl := r.client()
	produceAll(t, cl, []*kgo.Record{{Topic: "once", Value: []byte("by kgo")}})
	id, epoch, err := cl.ProducerID(t.Context())
	if err != nil || id < 0 || epoch != 0 {
		t.Fatalf("producer id %d, epoch %d: %v", id, epoch, err)
	}
	c := r.dial()
	for _, step := range []struct {
		name     string
		sequence int32
		count    int
		epoch    int16
		code     int16
		base     int64
	}{
		{"next", 1, 3, 0, 0, 1},
		{"the same again", 1, 3, 0, 0, 1},
		{"a gap", 9, 1, 0, kerr.OutOfOrderSequenceNumber.Code, -1},
		{"next after the refusal", 4, 2, 0, 0, 4},
		{"an older one again", 1, 3, 0, 0, 1},
		{"a newer epoch", 0, 1, 1, 0, 6},
		{"the older epoch", 6, 1, 0, kerr.InvalidProducerEpoch.Code, -1},
	} {
		p := c.produce("once", sequenced(id, step.epoch, step.sequence, step.count))
		if p.ErrorCode != step.code || p.BaseOffset != step.base {
			t.Errorf("%s: error %d at offset %d, want %d at %d", step.name, p.ErrorCode, p.BaseOffset, step.code, step.base)
		}
	}
	if end := c.fetch("once", 0).HighWatermark; end != 7 {
		t.Errorf("the log ends at %d, want 7", end)
	}
}

func TestTransactionsAreRefusedAtOnce(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 1)
	cl := r.client(kgo.TransactionalID("tx"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := cl.BeginTransaction() // has failed already if the producer id was refused by now
	if err == nil {
		err = cl.ProduceSync(ctx, &kgo.Record{Topic: "words", Value: []byte("x")}).FirstErr()
	}
	if err == nil || !strings.Contains(err.Error(), "UNSUPPORTED_VERSION") { // kgo wraps the text only
		t.Errorf("got %v, want a refusal that says it is not supported", err)
	}
}

func TestTopicsAreMadeWhenAskedFor(t *testing.T) {
	cfg := config("mem:", "")
	cfg.Topics.Partitions = 4
	r := start(t, cfg)
	produceAll(t, r.client(kgo.AllowAutoTopicCreation()), []*kgo.Record{{Topic: "fresh", Value: []byte("x")}})
	adm := kadm.NewClient(r.client())
	found, err := adm.ListTopics(t.Context(), "fresh", "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(found["fresh"].Partitions); n != 4 || !errors.Is(found["a/b"].Err, kerr.InvalidTopicException) {
		t.Errorf("fresh has %d partitions, want 4; a/b: %v", n, found["a/b"].Err)
	}

	cfg = config("mem:", "")
	cfg.Topics.AutoCreate = false
	cl := start(t, cfg).client(kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "fresh"}).FirstErr(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("with auto-creation off: %v", err)
	}
}

func TestDeletingATopicDeletesItsOffsets(t *testing.T) {
	for _, g := range grounds(t)[:2] {
		t.Run(g.name, func(t *testing.T) {
			r := start(t, config(g.url(t)))
			adm := kadm.NewClient(r.client())
			for _, topic := range []string{"gone", "stays"} {
				r.topic(topic, 1)
				produceAll(t, r.client(), corpus1(topic, 5))
			}
			var offsets kadm.Offsets
			offsets.AddOffset("gone", 0, 3, -1)
			offsets.AddOffset("stays", 0, 4, -1)
			if err := adm.CommitAllOffsets(t.Context(), "readers", offsets); err != nil {
				t.Fatal(err)
			}
			if _, err := adm.DeleteTopic(t.Context(), "gone"); err != nil {
				t.Fatal(err)
			}
			r.topic("gone", 1) // its offsets do not come back with the name
			left, err := adm.FetchOffsets(t.Context(), "readers")
			if err != nil {
				t.Fatal(err)
			}
			if _, there := left.Lookup("gone", 0); there {
				t.Error("the deleted topic's offset is still committed")
			}
			if o, there := left.Lookup("stays", 0); !there || o.At != 4 {
				t.Errorf("the other topic's offset is %+v", o)
			}
			if end := r.dial().fetch("gone", 0).HighWatermark; end != 0 {
				t.Errorf("the new topic ends at %d", end)
			}
		})
	}
}

// corpus1 is a corpus for a topic of one partition.
func corpus1(topic string, n int) []*kgo.Record {
	records := corpus(topic, n)
	for _, r := range records {
		r.Partition = 0
	}
	return records
}

func TestLogAppendTimeIsTheAgents(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("stamped", 1, "message.timestamp.type=LogAppendTime")
	before := time.Now().Truncate(time.Millisecond)
	produceAll(t, r.client(kgo.ProducerBatchCompression(kgo.ZstdCompression())), corpus1("stamped", 10))
	cl := r.client(kgo.ConsumeTopics("stamped"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for _, rec := range consume(t, cl, 10) {
		if rec.Timestamp.Before(before) || rec.Timestamp.After(time.Now()) || rec.Attrs.TimestampType() != 1 {
			t.Errorf("offset %d has time %v of type %d", rec.Offset, rec.Timestamp, rec.Attrs.TimestampType())
		}
	}
}

func TestTopicsCompressionTypeWins(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("zipped", 1, "compression.type=zstd")
	want := corpus1("zipped", 100)
	produceAll(t, r.client(kgo.ProducerBatchCompression(kgo.GzipCompression())), want)
	got := r.dial().fetch("zipped", 0)
	if err := batch.Split(got.RecordBatches, func(at int, v batch.View) bool {
		if v.Attributes().Codec() != batch.Zstd || v.CRC() != v.ComputeCRC() {
			t.Errorf("the batch at byte %d is %s, checksum %x of %x", at, v.Attributes().Codec(), v.CRC(), v.ComputeCRC())
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	cl := r.client(kgo.ConsumeTopics("zipped"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	same(t, consume(t, cl, 100), want)
}

func TestMaxMessageBytesBoundsABatch(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("small", 1, "max.message.bytes=1000")
	cl := r.client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "small", Value: make([]byte, 900)}).FirstErr(); err != nil {
		t.Error(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "small", Value: make([]byte, 1000)}).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("a batch that is too large: %v", err)
	}
}
