package chunks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/objectstore"
)

// fault is how a peer answers.
type fault func(ctx context.Context, m cache.Miss) (io.ReadCloser, error)

func asked(m cache.Miss) []byte { return content(m.Key)[m.Off : m.Off+m.N] }

var (
	refuses fault = func(context.Context, cache.Miss) (io.ReadCloser, error) { return nil, errGone }
	full    fault = func(context.Context, cache.Miss) (io.ReadCloser, error) { return nil, ErrBusy }
	ignores fault = func(context.Context, cache.Miss) (io.ReadCloser, error) { return nil, objectstore.ErrNotFound }
	hangs   fault = func(ctx context.Context, _ cache.Miss) (io.ReadCloser, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	stops fault = func(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(asked(m)[:m.N/2]), hung{ctx})), nil
	}
	breaks fault = func(_ context.Context, m cache.Miss) (io.ReadCloser, error) {
		r, w := io.Pipe()
		w.CloseWithError(errGone)
		return io.NopCloser(io.MultiReader(bytes.NewReader(asked(m)[:m.N/2]), r)), nil
	}
	short fault = func(_ context.Context, m cache.Miss) (io.ReadCloser, error) { return body(asked(m)[1:]), nil }
	none  fault = func(context.Context, cache.Miss) (io.ReadCloser, error) { return body(), nil }
	long  fault = func(_ context.Context, m cache.Miss) (io.ReadCloser, error) { return body(asked(m), []byte{1}), nil }
)

// after is a peer that answers right, late.
func after(d time.Duration) fault {
	return func(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
		select {
		case <-time.After(d):
			return body(asked(m)), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// chaos answers a network in which a third of the calls go wrong somehow.
func chaos(seed uint64) func(context.Context, string, cache.Miss) (io.ReadCloser, error) {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 2))
	faults := []fault{refuses, full, ignores, hangs, stops, breaks, short, none, long, after(30 * time.Millisecond), after(time.Second)}
	return func(ctx context.Context, _ string, m cache.Miss) (io.ReadCloser, error) {
		mu.Lock()
		i := r.IntN(3 * len(faults))
		mu.Unlock()
		if i < len(faults) {
			return faults[i](ctx, m)
		}
		return nil, nil
	}
}

// pair is an agent, and a peer with that fault that owns everything. A read from the bucket takes 10 ms.
func pair(t *testing.T, f fault) (*cluster, *agent) {
	t.Helper()
	c := newCluster(t, func(c *cluster) {
		c.delay = 10 * time.Millisecond
		c.network = func(ctx context.Context, _ string, m cache.Miss) (io.ReadCloser, error) { return f(ctx, m) }
	})
	c.add("", "a", "peer")
	c.agents["a"].see(view{owner: func(string, int64) string { return "peer" }})
	return c, c.agents["a"]
}

func TestPeerThatFailsCostsNoTimeAndIsAvoided(t *testing.T) {
	for name, f := range map[string]struct {
		fault
		reason
		avoided bool
	}{
		"refuses": {refuses, failed, true}, "breaks": {breaks, failed, true}, "short": {short, length, true}, "none": {none, length, true},
		"long": {long, length, true}, "busy": {full, busy, false}, "missing": {ignores, missing, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, a := pair(t, f.fault)
				one, two := objectKey(99, 1), objectKey(99, 2)
				c.put(one, two)
				if d := took(func() { a.read(one, 0, 4<<10, cache.Tail) }); d != c.delay {
					t.Errorf("it took %v instead of one read of the bucket", d)
				}
				if n := counted(t, a.reader.metrics.fallbacks[f.reason]); n != 1 {
					t.Errorf("%v fallbacks are counted", n)
				}
				c.calls()
				a.read(two, 0, 4<<10, cache.Tail)
				if calls := c.calls(); f.avoided != (len(calls) == 0) {
					t.Errorf("afterwards, calls were %v", calls)
				}
				if _, n := c.total(); n != 8<<10 {
					t.Errorf("%d bytes of the bucket were read", n)
				}
			})
		})
	}
}

func TestPeerThatGivesNothingIsWaitedForNoLongerThanPatience(t *testing.T) {
	for name, f := range map[string]fault{"hangs": hangs, "stops": stops, "late": after(time.Second)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, a := pair(t, f)
				key := objectKey(99, 1)
				c.put(key)
				patience := a.reader.patience(cache.Tail)
				if want := c.cfg.MinPatience * time.Duration(c.cfg.PatienceFactor); patience != want {
					t.Fatalf("patience is %v before anything is known, want %v", patience, want)
				}
				if d := took(func() { a.read(key, 0, 100, cache.Tail) }); d != patience+c.delay {
					t.Errorf("it took %v, patience is %v", d, patience)
				}
				m := a.reader.metrics
				if counted(t, m.hedges[fromBucket]) != 1 || counted(t, m.fallbacks[slow]) != 1 || counted(t, m.reads[fromBucket]) != 1 {
					t.Error("the hedge is not counted")
				}
				synctest.Wait()
				for i := range 2 { // two more are forgiven, then it is avoided
					a.read(key, int64(i+1)*regionBytes, 100, cache.Tail)
				}
				if d := took(func() { a.read(key, 3*regionBytes, 100, cache.Tail) }); d != c.delay {
					t.Errorf("a peer that was slow three times costs %v more", d-c.delay)
				}
			})
		})
	}
}

func TestPeerThatIsALittleSlowerThanPatienceStillWins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, a := pair(t, after(205*time.Millisecond))
		key := objectKey(99, 1)
		c.put(key)
		if d := took(func() { a.read(key, 0, 100, cache.Tail) }); d != 205*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if _, n := c.total(); n != 0 {
			t.Error("the bucket's answer was not cancelled")
		}
		if counted(t, a.reader.metrics.hedges[fromOwner]) != 1 {
			t.Error("the hedge is not counted")
		}
	})
}

func TestPeerThatKeepsGivingIsNotHedged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, a := pair(t, func(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
			r, w := io.Pipe()
			go func() {
				for _, b := range asked(m) {
					<-time.After(10 * time.Millisecond)
					if _, err := w.Write([]byte{b}); err != nil {
						return
					}
				}
				_ = w.Close()
			}()
			context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
			return r, nil
		})
		c.cached.ChunkBytes = 100
		if d := took(func() {
			body, err := a.reader.Source(t.Context(), cache.Miss{Key: objectKey(99, 1), Size: objectBytes, Off: 0, N: 100})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(body); err != nil || len(got) != 100 {
				t.Error(len(got), err)
			}
			_ = body.Close()
		}); d != time.Second {
			t.Errorf("it took %v", d)
		}
		if gets, _ := c.total(); gets != 0 {
			t.Errorf("%d GETs", gets)
		}
	})
}

func TestPatienceFollowsTheBucket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, delay := range []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Minute} {
			c, a := pair(t, refuses)
			c.delay = delay
			key := objectKey(99, 1)
			c.put(key)
			a.see(view{})
			for i := range int64(37) {
				a.read(key, i*chunkBytes, 1, cache.Tail)
			}
			got := a.reader.patience(cache.Tail)
			want := min(max(4*delay, c.cfg.MinPatience), c.cfg.MaxPatience)
			if got < want-want/50 || got > want+want/50 { // it began with a guess
				t.Errorf("patience is %v with a bucket that takes %v", got, delay)
			}
			if got := a.reader.patience(cache.Backfill); got != c.cfg.MaxPatience {
				t.Errorf("patience is %v for old data", got)
			}
		}
	})
}

func TestErrorsOfTheBucketArePassedOn(t *testing.T) {
	away := errors.New("bucket away")
	for name, f := range map[string]fault{"alone": nil, "refuses": refuses, "hangs": hangs, "stops": stops} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, a := pair(t, f)
				c.away = func(cache.Miss) error { return away }
				if f == nil {
					a.see(view{})
				}
				d := took(func() {
					if _, err := a.cache.Read(t.Context(), objectKey(99, 1), objectBytes, 0, 1, cache.Tail); !errors.Is(err, away) {
						t.Errorf("got %v", err)
					}
				})
				if most := 2 * a.reader.patience(cache.Tail); d > most {
					t.Errorf("it took %v", d)
				}
				c.away = nil // an object that nobody ever stored
				if _, err := a.cache.Read(t.Context(), objectKey(99, 2), objectBytes, 0, 1, cache.Tail); !errors.Is(err, objectstore.ErrNotFound) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestSlowPeerIsWaitedForWhenTheBucketIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, a := pair(t, after(300*time.Millisecond))
		c.away = func(cache.Miss) error { return errors.New("bucket away") }
		a.read(objectKey(99, 1), 0, 100, cache.Tail)
		if counted(t, a.reader.metrics.reads[fromOwner]) != 1 {
			t.Error("not from the peer")
		}
	})
}

func TestReaderThatGivesUpEndsEverything(t *testing.T) {
	for name, f := range map[string]fault{"hangs": hangs, "stops": stops} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, a := pair(t, f)
				c.delay = time.Hour
				for i := range 20 { // which of the ends is noticed first is chance
					patience := []time.Duration{10 * time.Millisecond, 500 * time.Millisecond}[i%2] // before and after the hedge
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					d := took(func() {
						if _, err := a.reader.Source(ctx, cache.Miss{Key: objectKey(99, 1), Size: objectBytes, N: 100}); !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("got %v", err)
						}
					})
					cancel()
					if d != patience {
						t.Errorf("it took %v", d)
					}
				}
				if a.reader.avoided.count() != 0 {
					t.Error("the peer is blamed for it")
				}
			})
		})
	}
}

func TestReadThatAnotherAgentWaitsForIsHedgedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, a := pair(t, hangs)
		key := objectKey(99, 1)
		c.put(key)
		var local sync.WaitGroup
		local.Go(func() { a.read(key, 0, 100, cache.Tail) })
		synctest.Wait()
		if d := took(func() {
			if _, err := serve(t.Context(), a.server, key, objectBytes, 0, 100, cache.Tail); err != nil {
				t.Error(err)
			}
		}); d != c.delay {
			t.Errorf("it took %v", d)
		}
		local.Wait()
		if gets, _ := c.total(); gets != 1 {
			t.Errorf("%d GETs", gets)
		}
		if len(a.reader.avoided.peers) != 0 {
			t.Error("the peer is blamed for it")
		}
	})
}

func TestAvoidedWriterIsReplacedByTheOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, func(c *cluster) {
			c.network = func(ctx context.Context, to string, m cache.Miss) (io.ReadCloser, error) {
				if to == "writer" {
					return nil, errGone
				}
				return nil, nil
			}
		})
		c.add("", "a", "writer", "owner")
		a := c.agents["a"]
		a.see(view{live: []*agent{c.agents["writer"]}, owner: func(string, int64) string { return "owner" }})
		key := objectKey(c.agents["writer"].session, 1)
		c.put(key)
		a.read(key, 0, 100, cache.Tail)
		a.read(key, regionBytes, 100, cache.Tail)
		if got, want := c.calls(), []string{"a>writer", "a>owner"}; !slices.Equal(got, want) {
			t.Errorf("calls were %v, want %v", got, want)
		}
	})
}

func TestPeerThatIsWellAgainIsAskedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var f fault = refuses
		c, a := pair(t, func(ctx context.Context, m cache.Miss) (io.ReadCloser, error) { return f(ctx, m) })
		key := objectKey(99, 1)
		c.put(key)
		a.read(key, 0, 1, cache.Tail)
		f = after(0)
		<-time.After(c.cfg.Avoid)
		for region := range int64(9) {
			a.read(key, region*regionBytes, 1, cache.Tail)
		}
		if gets, _ := c.total(); gets != 1 || len(c.calls()) != 9 {
			t.Errorf("%d GETs", gets)
		}
	})
}

func TestPeerThatTricklesIsGivenUpInTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, a := pair(t, func(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
			r, w := io.Pipe()
			go func() {
				for {
					<-time.After(time.Millisecond)
					if _, err := w.Write([]byte{0}); err != nil {
						return
					}
				}
			}()
			context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
			return r, nil
		})
		a.reader.cfg.PeerTimeout = 500 * time.Millisecond
		key := objectKey(99, 1)
		c.put(key)
		if d := took(func() { a.read(key, 0, 1, cache.Tail) }); d != 510*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if a.reader.avoided.count() != 1 {
			t.Error("it is not avoided")
		}
	})
}

func TestNothingOfAReadOutlivesIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var running atomic.Int32
		c, a := pair(t, func(ctx context.Context, _ cache.Miss) (io.ReadCloser, error) {
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			<-time.After(20 * time.Millisecond)
			return nil, ctx.Err()
		})
		key := objectKey(99, 1)
		c.put(key)
		body, err := a.reader.Source(t.Context(), cache.Miss{Key: key, Size: objectBytes, N: 100})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(body); err != nil {
			t.Error(err)
		}
		_ = body.Close()
		if running.Load() != 0 {
			t.Error("the peer is still asked")
		}
	})
}

func TestBodyThatComesTooLateIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T) { // the cluster sees to it that all bodies of the bucket are closed
		c, a := pair(t, after(205*time.Millisecond))
		key := objectKey(99, 1)
		c.put(key)
		bucket := a.reader.deps.Bucket
		a.reader.deps.Bucket = func(_ context.Context, m cache.Miss) (io.ReadCloser, error) {
			return bucket(context.Background(), m) // does not notice that it lost
		}
		a.read(key, 0, 1, cache.Tail)
		<-time.After(c.delay) // until the bucket has answered, too
		if gets, _ := c.total(); gets != 1 || counted(t, a.reader.metrics.hedges[fromOwner]) != 1 {
			t.Error("the bucket was not asked, or won")
		}
	})
}

func TestPeerIsNotBlamedForAReaderThatGaveUp(t *testing.T) {
	c := newCluster(t)
	c.add("", "a")
	a := c.agents["a"]
	a.see(view{owner: func(string, int64) string { return "peer" }})
	for range 300 { // whether the reader or its peer is noticed first is chance
		ctx, cancel := context.WithCancel(t.Context())
		c.network = func(ctx context.Context, _ string, m cache.Miss) (io.ReadCloser, error) {
			cancel()
			return nil, ctx.Err()
		}
		if _, err := a.reader.Source(ctx, cache.Miss{Key: objectKey(99, 1), Size: objectBytes, N: 1}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if a.reader.avoided.count() != 0 {
		t.Error("the peer is avoided")
	}
}
