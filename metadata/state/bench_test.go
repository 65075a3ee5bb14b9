package state

import (
	"fmt"
	"runtime"
	"testing"
)

// prepared is a state with topics of 1000 partitions each.
func prepared(t testing.TB, topics int) (*State, []UUID) {
	s := New()
	do(t, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	ids := make([]UUID, topics)
	for i := range ids {
		ids[i] = UUID{byte(i), byte(i >> 8), 9}
		do(t, s, CreateTopic{Topic: ids[i], Name: fmt.Sprint("topic-", i), Partitions: 1000, ReplicationFactor: 1})
	}
	return s, ids
}

// object is the number-th commit: runs partitions of one batch each.
func objectCommand(number uint64, index uint64, ids []UUID, runs int, idempotent bool) Command {
	o := CommitObject{Size: 8 << 20, Runs: make([]Run, runs)}
	batches := make([]Batch, runs)
	for i := range o.Runs {
		k := (int(number)-1)*runs + i
		at := k * 7919 % (len(ids) * 1000) // every partition once a round, here and there
		batches[i] = Batch{Len: 16384, Attributes: 2, Count: 100, MaxTimestamp: 1700000000000 + int64(number), ProducerID: -1}
		if idempotent {
			batches[i].ProducerID, batches[i].FirstSequence = int64(at/16), int32(k/(len(ids)*1000)*100)
		}
		o.Runs[i] = Run{Topic: ids[at/1000], Partition: int32(at % 1000), Pos: int64(i) * 16384, AcceptIndex: index, Batches: batches[i : i+1]}
	}
	return Command{Session: id("s"), Lane: LaneObjects, Number: number, Settled: number - 1, Time: 1700000000000 + int64(number), Op: o}
}

func benchmarkCommit(b *testing.B, topics int, idempotent, imaging bool) {
	const runs = 100
	s, ids := prepared(b, topics)
	commands := make([]Command, b.N)
	for i := range commands {
		commands[i] = objectCommand(uint64(i+1), s.index, ids, runs, idempotent)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range commands {
		if imaging && i%100 == 0 {
			s.Image()
		}
		rs, _, err := s.Apply(Entry{Index: s.index + 1, Commands: commands[i : i+1]})
		if err != nil || rs[0].Batches[i%runs].Code != CodeOK || rs[0].Batches[i%runs].Duplicate {
			b.Fatal(err, rs)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*runs), "ns/batch")
}

// Over 1,000 partitions, which fit the processor's caches, and over 100,000, one after the other at random places.
func BenchmarkApplyCommit1k(b *testing.B)              { benchmarkCommit(b, 1, false, false) }
func BenchmarkApplyCommit1kIdempotent(b *testing.B)    { benchmarkCommit(b, 1, true, false) }
func BenchmarkApplyCommit100k(b *testing.B)            { benchmarkCommit(b, 100, false, false) }
func BenchmarkApplyCommit100kIdempotent(b *testing.B)  { benchmarkCommit(b, 100, true, false) }
func BenchmarkApplyCommit100kWhileImaged(b *testing.B) { benchmarkCommit(b, 100, false, true) }

func BenchmarkEntryEncode(b *testing.B) {
	_, ids := prepared(b, 100)
	e := Entry{Commands: []Command{objectCommand(1000, 100, ids, 100, true)}}
	b.ReportAllocs()
	var body []byte
	for b.Loop() {
		body = EncodeEntry(e)
	}
	b.ReportMetric(float64(len(body))/100, "bytes/run")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/batch")
}

func BenchmarkEntryDecode(b *testing.B) {
	_, ids := prepared(b, 100)
	body := EncodeEntry(Entry{Commands: []Command{objectCommand(1000, 100, ids, 100, true)}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEntry(1, body); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/batch")
}

// large is a state of 100,000 partitions with ten extents each.
func large(t testing.TB, perPartition int) *State {
	s, ids := prepared(t, 100)
	number := uint64(0)
	for round := range perPartition {
		for p := 0; p < 100; p++ {
			o := CommitObject{Size: 16 << 20}
			for i := range 1000 {
				o.Runs = append(o.Runs, Run{Topic: ids[p], Partition: int32(i), Pos: int64(i) * 16384, Batches: []Batch{{Len: 16384, Count: 100,
					MaxTimestamp: 1700000000000 + int64(round), ProducerID: -1}}})
			}
			number++
			apply(t, s, Command{Session: id("s"), Lane: LaneObjects, Number: number, Settled: number - 1, Op: o})
		}
	}
	return s
}

func BenchmarkImageOf100kPartitions(b *testing.B) {
	s := large(b, 10)
	b.ReportAllocs()
	b.Run("take", func(b *testing.B) {
		for b.Loop() {
			s.Image()
		}
	})
	b.Run("header", func(b *testing.B) {
		for b.Loop() {
			s.Image().Header()
		}
	})
	b.Run("encode", func(b *testing.B) {
		var size, shards int
		for b.Loop() {
			size, shards = 0, 0
			for _, encode := range s.Image().Shards() {
				size += len(encode())
				shards++
			}
		}
		b.ReportMetric(float64(size), "bytes")
		b.ReportMetric(float64(shards), "shards")
	})
	b.Run("restore", func(b *testing.B) {
		image := s.Image()
		all := shardsOf(image)
		for b.Loop() {
			if _, err := Restore(image.Header(), func(yield func([]byte, error) bool) {
				for _, x := range all[1:] {
					if !yield(x, nil) {
						return
					}
				}
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestAPartitionCostsBytes prints what a partition and an extent cost in memory and in an image, and fails if that is a
// lot more than it was.
func TestAPartitionCostsBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds 100,000 partitions")
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	encoded := func(s *State) (n int) {
		for _, b := range shardsOf(s.Image()) {
			n += len(b)
		}
		return n
	}
	const partitions = 100_000
	before := heap()
	empty, _ := prepared(t, 100)
	idle := float64(heap()-before) / partitions
	before = heap()
	one := large(t, 1)
	first := float64(heap()-before) / partitions
	before = heap()
	eight := large(t, 8)
	eighth := float64(heap()-before) / partitions
	perExtent, perExtentImage := (eighth-first)/7, float64(encoded(eight)-encoded(one))/partitions/7
	t.Logf("partition without data %.1f bytes; with its first extent %.0f (%.0f in an image); each further extent %.0f (%.0f in an image)",
		idle, first, float64(encoded(one))/partitions, perExtent, perExtentImage)
	if idle > 5 || first > 300 || perExtent > 60 || perExtentImage > 30 {
		t.Error("a partition or an extent costs more than it should")
	}
	runtime.KeepAlive(empty)
}
