//go:build unix

package state

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// million builds ten topics of 100,000 partitions, and gives every partition so many extents, each in an object of its own. Heap
// is what the partitions took of it, in bytes.
func million(b *testing.B, extents int) (s *State, ids []UUID, number uint64, heap int64) {
	const topics, partitions, runs = 10, 100_000, 1000
	s, ids = New(), make([]UUID, topics)
	do(b, s, OpenSession{Session: id("s"), NodeID: -1, Level: 1})
	for i := range ids {
		ids[i] = UUID{byte(i), 9}
		do(b, s, CreateTopic{Topic: ids[i], Name: fmt.Sprint("topic-", i), Partitions: partitions, ReplicationFactor: 1})
	}
	before := heapInUse()
	for range extents {
		for at := 0; at < topics*partitions; at += runs {
			o := CommitObject{Size: 16 << 20, Runs: make([]Run, runs)}
			batches := make([]Batch, runs)
			for i := range o.Runs {
				batches[i] = Batch{Len: 16384, Count: 100, MaxTimestamp: 1700000000000 + int64(number), ProducerID: -1}
				o.Runs[i] = Run{Topic: ids[at/partitions], Partition: int32(at%partitions + i), Pos: int64(i) * 16384, Batches: batches[i : i+1]}
			}
			number++
			apply(b, s, Command{Session: id("s"), Lane: LaneObjects, Number: number, Settled: number - 1, Op: o})
		}
	}
	return s, ids, number, heapInUse() - before
}

// scattered is a commit that touches 1,000 partitions all over the ten topics.
func scattered(ids []UUID, number uint64) Command {
	o := CommitObject{Size: 16 << 20, Runs: make([]Run, 1000)}
	batches := make([]Batch, len(o.Runs))
	for i := range o.Runs {
		at := (int(number)*len(o.Runs) + i) * 7919 % 1_000_000
		batches[i] = Batch{Len: 16384, Count: 100, MaxTimestamp: 1700000000000 + int64(number), ProducerID: -1}
		o.Runs[i] = Run{Topic: ids[at/100_000], Partition: int32(at % 100_000), Pos: int64(i) * 16384, Batches: batches[i : i+1]}
	}
	return Command{Session: id("s"), Lane: LaneObjects, Number: number, Settled: number - 1, Op: o}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// processor answers the processor time that this process has taken, garbage collection included: unlike a clock it hardly cares
// what else runs on the machine.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMillionPartitions prints the figures of a million partitions that metadata/DESIGN.md has: an op is the apply of a
// commit that touches 1,000 of them, of which it prints the median. What takes long is given in processor time.
func BenchmarkMillionPartitions(b *testing.B) {
	const partitions = 1_000_000
	heap := make(map[int]int64) // by extents of a partition
	for _, extents := range []int{1, 3} {
		b.Run(fmt.Sprint("extents=", extents), func(b *testing.B) {
			s, ids, number, bytes := million(b, extents)
			heap[extents] = bytes

			begin := time.Now()
			image := s.Image()
			took := time.Since(begin)
			number++
			c := scattered(ids, number)
			begin = time.Now()
			apply(b, s, c)
			copying := time.Since(begin)

			cpu := processor()
			all := shardsOf(image)
			encoded, size := processor()-cpu, 0
			for _, shard := range all {
				size += len(shard)
			}
			cpu = processor()
			restored, err := Restore(image.Header(), func(yield func([]byte, error) bool) {
				for _, shard := range all[1:] {
					if !yield(shard, nil) {
						return
					}
				}
			})
			restoring := processor() - cpu
			if err != nil {
				b.Fatal(err)
			}
			runtime.KeepAlive(restored)
			restored, image, all = nil, nil, nil
			runtime.GC()

			var commits []time.Duration
			for b.Loop() {
				number++
				c := scattered(ids, number) // not a part of it
				begin := time.Now()
				apply(b, s, c)
				commits = append(commits, time.Since(begin))
			}
			slices.Sort(commits)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(commits[len(commits)/2].Microseconds()), "µs/commit")
			b.ReportMetric(float64(copying.Microseconds()), "µs/commit-after-image")
			b.ReportMetric(float64(bytes)/partitions, "heap-B/partition")
			if heap[1] > 0 && extents > 1 {
				b.ReportMetric(float64(bytes-heap[1])/partitions/float64(extents-1), "heap-B/further-extent")
			}
			b.ReportMetric(float64(size)/1e6, "image-MB")
			b.ReportMetric(float64(took.Microseconds()), "µs/take-image")
			b.ReportMetric(float64(encoded.Milliseconds()), "cpu-ms/encode-image")
			b.ReportMetric(float64(restoring.Milliseconds()), "cpu-ms/restore")
		})
	}
}
