package chunks

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/cache"
)

// consume has three consumers on each agent read all objects, each in an order of its own.
func consume(c *cluster, class cache.Class, keys ...string) {
	var readers sync.WaitGroup
	for _, a := range c.agents {
		for i := range 3 {
			r := rand.New(rand.NewPCG(uint64(a.session), uint64(i)))
			readers.Go(func() {
				for _, k := range r.Perm(len(keys)) {
					for off := int64(0); off < objectBytes; {
						n := min(1+r.Int64N(3*chunkBytes), objectBytes-off)
						a.read(keys[k], off, n, class)
						off += n
					}
				}
			})
		}
	}
	readers.Wait()
}

func someKeys(session byte, n int) (keys []string) {
	for i := range n {
		keys = append(keys, objectKey(session, uint64(i)))
	}
	return keys
}

func TestEachByteIsReadFromTheBucketOncePerZone(t *testing.T) {
	const nobody = 99 // a session that is not alive
	for class, name := range classNames {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, func(c *cluster) {
					c.delay = 5 * time.Millisecond
					c.cached.BackfillBytesPerSecond = 0
				})
				c.add("x", "a", "b", "c")
				c.add("y", "d", "e")
				keys := someKeys(nobody, 6)
				c.put(keys...)
				consume(c, cache.Class(class), keys...)
				for zoneKey, n := range c.got {
					if n != objectBytes {
						t.Errorf("%s: %d bytes of %d were read from the bucket", zoneKey, n, objectBytes)
					}
				}
				if len(c.got) != 2*len(keys) {
					t.Errorf("%d objects were read, want %d in 2 zones", len(c.got), len(keys))
				}
				chunks := (objectBytes + chunkBytes - 1) / chunkBytes
				if gets, _ := c.total(); gets > 2*len(keys)*chunks {
					t.Errorf("%d GETs", gets)
				}
				for _, call := range c.calls() {
					if from, to, _ := strings.Cut(call, ">"); c.agents[from].zone != c.agents[to].zone {
						t.Fatalf("%s crosses zones", call)
					}
				}
			})
		})
	}
}

func TestWhatItsWriterHasIsNotReadFromTheBucket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.add("", "a", "b", "c")
		writer := c.agents["b"]
		keys := someKeys(writer.session, 4)
		c.put(keys...)
		for _, key := range keys {
			writer.cache.Put(key, [][]byte{content(key)})
		}
		consume(c, cache.Tail, keys...)
		if gets, _ := c.total(); gets != 0 {
			t.Errorf("%d GETs", gets)
		}
		if n := counted(t, c.agents["a"].reader.metrics.bytes[fromWriter]); n != float64(len(keys)*objectBytes) {
			t.Errorf("%v bytes from the writer", n)
		}
	})
}

func TestWriterThatForgotReadsFromTheBucketForAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.add("", "a", "b", "c")
		keys := someKeys(c.agents["b"].session, 3)
		c.put(keys...)
		consume(c, cache.Tail, keys...)
		if _, n := c.total(); n != int64(len(keys)*objectBytes) {
			t.Errorf("%d bytes were read from the bucket", n)
		}
	})
}

func TestOwnershipMayChangeInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.add("", "a", "b", "c", "d")
		key := objectKey(99, 1)
		c.put(key)
		c.alive("d")
		c.agents["a"].read(key, 0, 20<<10, cache.Tail)
		c.alive("b")
		for _, name := range []string{"a", "c", "d"} {
			c.agents[name].read(key, 0, objectBytes, cache.Tail)
		}
		c.alive()
		for _, a := range c.agents {
			a.read(key, 0, objectBytes, cache.Tail)
		}
		// Each change of view may cost another read of what moved, no more.
		if _, n := c.total(); n > 3*objectBytes {
			t.Errorf("%d bytes were read from the bucket, of an object of %d", n, objectBytes)
		}
	})
}

func TestAgentsThatTakeEachOtherForTheOwnerDoNotWaitForEachOther(t *testing.T) {
	for _, class := range []cache.Class{cache.Tail, cache.Backfill} {
		bubble(t, func(t *testing.T) {
			c := newCluster(t, func(c *cluster) { c.cached.TailGets, c.cached.BackfillGets = 1, 1 })
			c.add("", "a", "b", "c")
			ring := map[string]string{"a": "b", "b": "c", "c": "a"}
			for name, a := range c.agents {
				a.see(view{owner: func(string, int64) string { return ring[name] }})
			}
			keys := someKeys(99, 4)
			c.put(keys...)
			c.cfg.MinPatience = time.Minute
			if d := took(func() { consume(c, class, keys...) }); d > 0 {
				t.Errorf("it took %v", d)
			}
			if gets, _ := c.total(); gets == 0 {
				t.Error("nobody asked the bucket")
			}
		})
	}
}

func TestOneFlightOfEachWaitsForTheOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t)
		c.add("", "a", "b")
		a, b := c.agents["a"], c.agents["b"]
		a.see(view{owner: func(string, int64) string { return "b" }})
		b.see(view{owner: func(string, int64) string { return "a" }})
		key := objectKey(99, 1)
		c.put(key)
		c.delay = time.Millisecond
		var readers sync.WaitGroup
		d := took(func() {
			for _, one := range []*agent{a, b} {
				readers.Go(func() { one.read(key, 0, 10, cache.Tail) })
			}
			readers.Wait()
		})
		if d != c.delay {
			t.Errorf("it took %v instead of one read of the bucket", d)
		}
	})
}

func TestBytesAreRightWhateverPeersDo(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			c := newCluster(t, func(c *cluster) {
				c.delay = time.Duration(r.IntN(40)) * time.Millisecond
				c.network = chaos(seed)
			})
			c.add("x", "a", "b", "c")
			var stop sync.WaitGroup
			over := make(chan struct{})
			stop.Go(func() {
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for i := 0; ; i++ {
					select {
					case <-tick.C:
						c.alive(string(rune('a' + i%4)))
					case <-over:
						return
					}
				}
			})
			keys := slices.Concat(someKeys(1, 2), someKeys(99, 2))
			c.put(keys...)
			d := took(func() { consume(c, cache.Class(seed%2), keys...) })
			close(over)
			stop.Wait()
			synctest.Wait()
			if d > time.Minute {
				t.Errorf("seed %d took %v", seed, d)
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for i, f := range []func(*Config){
		func(c *Config) { c.RegionBytes = 0 },
		func(c *Config) { c.MinPatience = 0 },
		func(c *Config) { c.MaxPatience = c.MinPatience - 1 },
		func(c *Config) { c.PatienceFactor = 0 },
		func(c *Config) { c.PeerTimeout = c.MaxPatience - 1 },
		func(c *Config) { c.Avoid = 0 },
		func(c *Config) { c.ServeTail = 0 },
		func(c *Config) { c.ServeBackfill = 0 },
		func(c *Config) { c.ServeBytes = 4*c.RegionBytes - 1 },
	} {
		cfg := Default()
		f(&cfg)
		if _, err := New(cfg, Deps{}); err == nil {
			t.Error(i, "is accepted by a reader")
		}
		if _, err := NewServer(cfg, keys, nil, nil); err == nil {
			t.Error(fmt.Sprint(i), "is accepted by a server")
		}
	}
}
