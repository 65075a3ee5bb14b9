package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

const (
	killRounds     = 20 // on each store
	killProducers  = 3
	killPartitions = 4
	killTopic      = "survives"
	killGroup      = "readers"
)

// TestKillNine: producers and a group go on while the agent is killed again and again at any moment, with its cache folder
// deleted. In the end every acknowledged record is there exactly once, in order, at its offset, and the group resumes where
// it committed.
func TestKillNine(t *testing.T) {
	const seed = 4
	t.Run("file and bolt", func(t *testing.T) {
		killAgain(t, rand.New(rand.NewPCG(seed, 1)), "--store", "file://"+t.TempDir()+"/bucket")
	})
	t.Run("minio and bucket", func(t *testing.T) {
		server := miniotest.Start(t)
		killAgain(t, rand.New(rand.NewPCG(seed, 2)), "--store", server.S3URL("kill"), "--journal", "bucket:")
	})
}

func killAgain(t *testing.T, random *rand.Rand, args ...string) {
	w := &killed{t: t, random: random, addr: freeAddress(t), cache: filepath.Join(t.TempDir(), "cache")}
	w.args = append([]string{"--listen", w.addr, "--cache-dir", w.cache, "--cache-disk", "1GiB"}, args...)
	w.agent = startAgent(t, w.args...)
	if _, err := kadm.NewClient(client(t, w.addr)).CreateTopic(bounded(t), killPartitions, 1, nil, killTopic); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var producing, reading sync.WaitGroup
	for i := range killProducers {
		producing.Go(func() { w.produce(ctx, i) })
	}
	readCtx, stopReading := context.WithCancel(t.Context())
	defer stopReading()
	reading.Go(func() { w.read(readCtx) })
	w.agent.until("the group is stable and reads", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.committed != [killPartitions]int64{}
	})
	for round := range killRounds {
		w.round(round)
	}
	stop()
	producing.Wait()
	eventually(t, "the group has read everything", func() bool { return w.readThrough() })
	stopReading()
	reading.Wait()
	w.agent.Kill()
	w.restart()
	w.check()
	w.resume()
	w.agent.drain()
}

// killed is a world in which an agent dies again and again. mu guards everything below it.
type killed struct {
	t      *testing.T
	random *rand.Rand
	addr   string
	cache  string
	args   []string
	agent  *process

	mu        sync.Mutex
	acked     [killPartitions]map[int64]string // offset → value of every acknowledged record
	acks      int
	attempted [killPartitions]int64 // the highest offset that the group has tried to commit, and what was committed for sure
	committed [killPartitions]int64
	revoked   int
}

// round lets the agent live for a while and kills it; every fourth one dies while it starts.
func (w *killed) round(n int) {
	w.t.Helper()
	if n%4 != 3 {
		w.mu.Lock()
		before := w.acks
		w.mu.Unlock()
		w.agent.until("records are acknowledged again", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.acks > before
		})
		w.checkOffsets()
	}
	<-time.After(time.Duration(w.random.IntN(400)) * time.Millisecond) // the moment is the point, not a wait
	w.agent.Kill()
	w.restart()
}

// restart starts the agent without its cache; it does not wait until it serves.
func (w *killed) restart() {
	w.t.Helper()
	if err := os.RemoveAll(w.cache); err != nil {
		w.t.Fatal(err)
	}
	w.agent = launch(w.t, nil, agentArgs(w.args...)...)
}

// produce sends records until ctx ends, and then waits until each is acknowledged. Nothing may ever fail: clients repeat.
func (w *killed) produce(ctx context.Context, id int) {
	cl := client(w.t, w.addr, patient(w.t), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(200),
		kgo.DefaultProduceTopic(killTopic))
	random := rand.New(rand.NewPCG(uint64(id), 7))
	var next [killPartitions]int
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for ctx.Err() == nil {
		p := random.IntN(killPartitions)
		value := fmt.Sprintf("%d %d %d", id, p, next[p])
		next[p]++
		cl.Produce(w.t.Context(), &kgo.Record{Partition: int32(p), Value: []byte(value)}, w.promise)
		<-pace.C
	}
	if err := cl.Flush(bounded(w.t)); err != nil {
		w.t.Errorf("producer %d: not everything was acknowledged: %v", id, err)
	}
}

func (w *killed) promise(r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.t.Errorf("record %q: %v", r.Value, err)
		return
	}
	w.acks++
	m := w.acked[r.Partition]
	if m == nil {
		m = map[int64]string{}
		w.acked[r.Partition] = m
	}
	if other, twice := m[r.Offset]; twice {
		w.t.Errorf("partition %d: offset %d was acknowledged for %q and for %q", r.Partition, r.Offset, other, r.Value)
	}
	m[r.Offset] = string(r.Value)
}

// read is the only member of a group, and commits what it has read. It must see every offset once, in order, since it is
// never revoked anything.
func (w *killed) read(ctx context.Context) {
	revoked := func(context.Context, *kgo.Client, map[string][]int32) {
		if ctx.Err() == nil {
			w.mu.Lock()
			w.revoked++
			w.mu.Unlock()
		}
	}
	var said output // shown if the group was disturbed
	cl := client(w.t, w.addr, patient(w.t), persistent, kgo.WithLogger(kgo.BasicLogger(&said, kgo.LogLevelInfo, nil)), kgo.ConsumerGroup(killGroup), kgo.ConsumeTopics(killTopic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(revoked))
	var next [killPartitions]int64
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] {
				w.t.Errorf("the group read offset %d of partition %d after %d", r.Offset, r.Partition, next[r.Partition]-1)
			}
			next[r.Partition] = r.Offset + 1
		})
		if fetches.NumRecords() > 0 {
			w.commit(ctx, cl, next)
		}
	}
	w.commit(w.t.Context(), cl, next)
	cl.Close() // leaves the group
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.revoked > 0 {
		w.t.Errorf("the group was rebalanced %d times; its client said:\n%s", w.revoked, said.String())
	}
	if w.committed != next {
		w.t.Errorf("committed in the end: %v, want %v", w.committed, next)
	}
}

// commit tries once; if it fails a later one will do.
func (w *killed) commit(ctx context.Context, cl *kgo.Client, next [killPartitions]int64) {
	w.mu.Lock()
	w.attempted = next
	w.mu.Unlock()
	offsets := map[int32]kgo.EpochOffset{}
	for p, at := range next {
		offsets[int32(p)] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{killTopic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				return
			}
			for _, p := range resp.Topics[0].Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					w.t.Logf("commit of partition %d: %v", p.Partition, err)
					return
				}
			}
			w.mu.Lock()
			w.committed = next
			w.mu.Unlock()
		})
}

// readThrough tells whether the group has committed everything that was acknowledged.
func (w *killed) readThrough() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.acked {
		if w.committed[p] < int64(len(w.acked[p])) {
			return false
		}
	}
	return true
}

// checkOffsets: what is committed is at least what was acknowledged as committed, and at most what was tried.
func (w *killed) checkOffsets() {
	w.t.Helper()
	w.mu.Lock()
	least := w.committed
	w.mu.Unlock()
	got := w.offsets()
	w.mu.Lock()
	most := w.attempted
	w.mu.Unlock()
	for p := range got {
		if got[p] < least[p] || got[p] > most[p] {
			w.t.Errorf("partition %d: committed offset %d is not between %d and %d", p, got[p], least[p], most[p])
		}
	}
}

func (w *killed) offsets() (at [killPartitions]int64) {
	w.t.Helper()
	cl := client(w.t, w.addr, patient(w.t))
	defer cl.Close()
	offsets, err := kadm.NewClient(cl).FetchOffsets(bounded(w.t), killGroup)
	if err != nil {
		w.t.Fatal(err)
	}
	for p := range at {
		o, _ := offsets.Lookup(killTopic, int32(p))
		at[p] = max(o.At, 0)
	}
	return at
}

// check reads everything and compares it with what was acknowledged.
func (w *killed) check() {
	w.t.Helper()
	cl := client(w.t, w.addr, patient(w.t), kgo.ConsumeTopics(killTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	ctx := bounded(w.t)
	last := map[string]int{} // by producer and partition
	for got := 0; got < w.acks; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatalf("after %d of %d records: %v", got, w.acks, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got++
			value, acked := w.acked[r.Partition][r.Offset]
			if !acked || value != string(r.Value) {
				w.t.Fatalf("partition %d offset %d is %q, acknowledged was %q", r.Partition, r.Offset, r.Value, value)
			}
			var producer, partition, n int
			if _, err := fmt.Sscan(value, &producer, &partition, &n); err != nil {
				w.t.Fatal(err)
			}
			key := fmt.Sprint(producer, partition)
			if n != last[key] {
				w.t.Fatalf("producer %d, partition %d: record %d at offset %d, want record %d", producer, partition, n, r.Offset, last[key])
			}
			last[key]++
		})
	}
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, killTopic)
	if err != nil {
		w.t.Fatal(err)
	}
	for p := range w.acked {
		if end, _ := ends.Lookup(killTopic, int32(p)); end.Offset != int64(len(w.acked[p])) {
			w.t.Errorf("partition %d ends at %d, but %d records were acknowledged", p, end.Offset, len(w.acked[p]))
		}
	}
	w.t.Logf("%d records of %d producers in %d partitions, each once, in order, at its offset", w.acks, killProducers, killPartitions)
}

// resume: a new member begins where the group committed.
func (w *killed) resume() {
	w.t.Helper()
	if got := w.offsets(); got != w.committed {
		w.t.Errorf("committed offsets %v, want %v", got, w.committed)
	}
	producer := client(w.t, w.addr, patient(w.t), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(killPartitions) {
		if err := producer.ProduceSync(bounded(w.t), &kgo.Record{Topic: killTopic, Partition: p, Value: []byte("one more")}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
	cl := client(w.t, w.addr, patient(w.t), kgo.ConsumerGroup(killGroup), kgo.ConsumeTopics(killTopic))
	defer cl.Close()
	for got := 0; got < killPartitions; {
		fetches := cl.PollFetches(bounded(w.t))
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got++
			if r.Offset != w.committed[r.Partition] {
				w.t.Errorf("partition %d resumes at %d, committed was %d", r.Partition, r.Offset, w.committed[r.Partition])
			}
		})
	}
}

// persistent has a member bear an agent that takes long to start: after two seconds it resets connections, again and again.
var persistent = kgo.RequestRetries(1000)

// patient has a client wait, as long as the test runs, for an agent that is being started again. Without it a member whose
// heartbeat is refused a few times in a row gives its group up by itself (kgo takes a refused connection for final), which says
// nothing about the agent.
func patient(t *testing.T) kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		for {
			c, err := d.DialContext(ctx, network, address)
			if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) { // reset: it was just killed
				return c, err
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return nil, err
			case <-t.Context().Done(): // agents are ending now
				return nil, err
			}
		}
	})
}
