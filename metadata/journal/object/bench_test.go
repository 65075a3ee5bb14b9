package object

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
	"github.com/leat-stream/leat/objectstore/minio"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

// distant is a store whose GETs take some time, as those of a remote bucket do. It counts them.
type distant struct {
	objectstore.Store
	delay time.Duration
	gets  atomic.Int64
}

func (d *distant) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	d.gets.Add(1)
	if d.delay > 0 {
		timer := time.NewTimer(d.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return objectstore.Object{}, context.Cause(ctx)
		}
	}
	return d.Store.Get(ctx, key, r)
}

// BenchmarkRead reads the end of a journal, as an agent does that starts, from a real MinIO and from memory, with and without the way to a
// remote bucket:
//
//	go test ./metadata/journal/object -run '^$' -bench Read -benchtime 3x
func BenchmarkRead(b *testing.B) {
	server := miniotest.Start(b)
	bucket, err := minio.New(minio.Config{Address: server.Address, Bucket: server.Bucket})
	must(b, err)
	for _, size := range []int{200, 20_000} {
		for _, at := range []struct {
			where string
			store objectstore.Store
		}{{"minio", bucket}, {"memory", mem.New()}} {
			where, store := at.where, at.store
			keys, err := objectstore.NewKeys(fmt.Sprint("size-", size))
			must(b, err)
			fill(b, store, keys, 8192, size)
			for _, delay := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond} {
				for _, entries := range []uint64{2048, 8192} {
					b.Run(fmt.Sprintf("%s/%v/%d×%dB", where, delay, entries, size), func(b *testing.B) {
						d := &distant{Store: store, delay: delay}
						j, err := Open(b.Context(), d, keys)
						must(b, err)
						d.gets.Store(0)
						for b.Loop() {
							readAll(b, j, 8192-entries+1)
						}
						b.ReportMetric(float64(d.gets.Load())/float64(b.N)-float64(entries), "more-GETs")
						b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
					})
				}
			}
		}
	}
}

func readAll(b *testing.B, j *Journal, from uint64) {
	next := from
	for e, err := range j.Read(b.Context(), from) {
		must(b, err)
		if e.Index != next {
			b.Fatalf("entry %d where %d should be", e.Index, next)
		}
		next++
	}
	if next != 8193 {
		b.Fatalf("the journal ended before %d", next)
	}
}

// fill makes a journal of n entries with bodies of size bytes, all at once.
func fill(b *testing.B, store objectstore.Store, keys objectstore.Keys, n uint64, size int) {
	must(b, Create(b.Context(), store, keys))
	j, err := Open(b.Context(), store, keys)
	must(b, err)
	var wg sync.WaitGroup
	var next atomic.Uint64
	for range 16 {
		wg.Go(func() {
			for index := next.Add(1); index <= n; index = next.Add(1) {
				e := journal.Entry{Index: index, Kind: journal.KindCommands, Body: make([]byte, size)}
				if index == 1 {
					e.Kind = journal.KindFence
				}
				body, err := journal.EncodeEntry(j.cluster, e)
				if err == nil {
					err = j.putSlot(b.Context(), index, body)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}
