package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

// putRaw stores objects of size bytes through the driver alone, as many at once as an agent does and on the same condition,
// for as long as length. It answers their bytes.
func putRaw(ctx context.Context, url string, size int, length time.Duration) (int64, error) {
	store, err := storeurl.Open(ctx, url)
	if err != nil {
		return 0, err
	}
	if c, ok := store.(io.Closer); ok {
		defer func() { _ = c.Close() }()
	}
	body := make([]byte, 0, size+valueSize)
	for i := 0; len(body) < size; i++ {
		body = append(body, values[i%len(values)]...)
	}
	body = body[:size]
	prefix := fmt.Sprintf("raw/%016x", rand.Uint64())
	began := time.Now()
	var number, bytes atomic.Int64
	workers := produce.Default().Uploads
	errs := make(chan error, workers)
	for range workers {
		go func() { // waited for below
			for time.Since(began) < length {
				key := fmt.Sprintf("%s/%08d", prefix, number.Add(1))
				if _, err := store.Put(ctx, key, objectstore.NewBody(body), objectstore.IfAbsent()); err != nil {
					errs <- err
					return
				}
				bytes.Add(int64(size))
			}
			errs <- nil
		}()
	}
	for range workers {
		err = errors.Join(err, <-errs)
	}
	return bytes.Load(), err
}
