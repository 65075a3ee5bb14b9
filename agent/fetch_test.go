package agent_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
)

func TestLongPollWakesWhenRecordsCome(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 1)
	reader, writer := r.dial(), r.dial()
	for round := range int64(3) {
		req := fetchRequest("words", 0, round)
		req.MaxWaitMillis = 10 * 60_000
		reader.send(req)
		eventually(t, "the fetch waits", func() bool { return r.metric("leat_fetch_waiting") == 1 })
		began := time.Now()
		writer.produce("words", oneBatch(t, 1))
		p := reader.receive(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if v, err := batch.At(p.RecordBatches); err != nil || v.BaseOffset() != round || p.HighWatermark != round+1 {
			t.Fatalf("round %d: %+v, %v", round, p, err)
		}
		if took := time.Since(began); took > time.Minute { // far below the wait, far above a busy machine's delay
			t.Errorf("woke after %v", took)
		}
	}
}

func TestFetchWaitsAndAnswersAsKafkaDoes(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 2)
	c := r.dial()
	c.produce("words", oneBatch(t, 10))
	for _, f := range []struct {
		name        string
		offset      int64
		wait, bytes int32
		waits       bool
		code        int16
	}{
		{"data is there", 0, 60_000, 1, false, 0},
		{"not enough data", 0, 300, 1 << 20, true, 0},
		{"nothing, and a wait", 10, 300, 1, true, 0},
		{"nothing, and no minimum", 10, 60_000, 0, false, 0},
		{"beyond the end", 11, 60_000, 1, false, kerr.OffsetOutOfRange.Code},
		{"far beyond the end", 1 << 62, 60_000, 1, false, kerr.OffsetOutOfRange.Code},
		{"negative", -1, 60_000, 1, false, kerr.OffsetOutOfRange.Code},
	} {
		req := fetchRequest("words", 0, f.offset)
		req.MaxWaitMillis, req.MinBytes = f.wait, f.bytes
		began := time.Now()
		p := ask(c, req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		took := time.Since(began)
		if p.ErrorCode != f.code || took > 50*time.Second || f.waits && took < 300*time.Millisecond {
			t.Errorf("%s: error %d after %v", f.name, p.ErrorCode, took)
		}
		if f.code == 0 && f.offset == 0 && len(p.RecordBatches) == 0 || f.code != 0 && (p.HighWatermark != -1 || len(p.RecordBatches) > 0) {
			t.Errorf("%s: %+v", f.name, p)
		}
	}
}

func TestFetchKeepsItsBudgetsButAlwaysMovesOn(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 2)
	c := r.dial()
	large, size := oneBatch(t, 2000), int32(0)
	for partition := range int32(2) {
		for range 5 {
			req := produceRequest("words", append([]byte(nil), large...))
			req.Topics[0].Partitions[0].Partition = partition
			if p := ask(c, req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 {
				t.Fatal(p)
			}
		}
	}
	size = int32(len(large))
	for _, f := range []struct {
		name           string
		all, partition int32
		first, second  int // batches
	}{
		{"plenty", 100 * size, 100 * size, 5, 5},
		{"one byte in all", 1, 100 * size, 1, 0},
		{"one byte a partition", 100 * size, 1, 1, 0},
		{"nothing at all", 0, 0, 1, 0},
		{"two batches a partition", 100 * size, 2 * size, 2, 2},
		{"six batches in all", 6 * size, 100 * size, 5, 1},
		{"two and a half in all", 5 * size / 2, 100 * size, 2, 0},
	} {
		req := fetchRequest("words", 0, 0)
		req.MaxBytes = f.all
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, req.Topics[0].Partitions[0])
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].Partition, req.Topics[0].Partitions[i].PartitionMaxBytes = int32(i), f.partition
		}
		got := ask(c, req).(*kmsg.FetchResponse).Topics[0].Partitions
		for i, want := range []int{f.first, f.second} {
			n := 0
			if err := batch.Split(batch.Cut(got[i].RecordBatches), func(int, batch.View) bool { n++; return true }); err != nil {
				t.Fatal(err)
			}
			if n != want {
				t.Errorf("%s: partition %d has %d batches, want %d", f.name, i, n, want)
			}
		}
	}
	// From the middle of a batch: the whole batch comes.
	if v, err := batch.At(c.fetch("words", 3000).RecordBatches); err != nil || v.BaseOffset() != 2000 {
		t.Errorf("from offset 3000: %v", err)
	}
}

func TestReadCommittedSeesTheSameWithoutTransactions(t *testing.T) {
	r := start(t, config("mem:", ""))
	r.topic("words", 1)
	c := r.dial()
	c.produce("words", oneBatch(t, 10))
	req := fetchRequest("words", 0, 0)
	req.IsolationLevel = 1
	p := ask(c, req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if p.LastStableOffset != 10 || p.HighWatermark != 10 || len(p.RecordBatches) == 0 || p.AbortedTransactions == nil || len(p.AbortedTransactions) != 0 {
		t.Errorf("%+v", p)
	}
}
