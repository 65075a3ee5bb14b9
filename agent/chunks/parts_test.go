package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/objectstore"
)

func TestWriterIsAskedBeforeTheOwnerAndNobodyAboutOneself(t *testing.T) {
	const nobody, other, mine = 99, 2, 1
	var owners []string // by region
	c := newCluster(t)
	c.add("", "a", "b")
	a := c.agents["a"]
	a.see(view{live: []*agent{a, c.agents["b"]}, owner: func(_ string, region int64) string { return owners[region] }})
	for _, x := range []struct {
		writer byte
		owners []string
		off    int64
		peer   string
		from   from
	}{
		{nobody, []string{"b"}, 100, "b", fromOwner},
		{nobody, []string{"b", "c"}, regionBytes - chunkBytes, "b", fromOwner},
		{nobody, []string{"b", "c"}, regionBytes, "c", fromOwner},
		{nobody, []string{"a"}, 0, "", fromBucket},
		{nobody, []string{""}, 0, "", fromBucket},
		{other, []string{"c"}, 100, "b", fromWriter},
		{mine, []string{"c"}, 100, "", fromBucket},
	} {
		owners = x.owners
		if peer, from := a.reader.route(cache.Miss{Key: objectKey(x.writer, 1), Off: x.off}); peer != x.peer || from != x.from {
			t.Errorf("writer %d, owners %v, byte %d: %s %q", x.writer, x.owners, x.off, fromNames[from], peer)
		}
	}
	origin := make(chan struct{})
	close(origin)
	for _, m := range []cache.Miss{{Key: "test/head", N: 10}, {Key: objectKey(other, 1), N: 10, Origin: origin}} {
		if _, from := a.reader.route(m); from != fromBucket {
			t.Errorf("%v is asked of a peer", m)
		}
	}
}

func TestOwnerWithoutAnAddressIsNobody(t *testing.T) {
	c := newCluster(t)
	c.add("", "a", "")
	c.agents["a"].see(view{live: []*agent{c.agents[""]}})
	for _, session := range []byte{c.agents[""].session, 99} {
		if _, from := c.agents["a"].reader.route(cache.Miss{Key: objectKey(session, 1)}); from != fromBucket {
			t.Error("asked")
		}
	}
}

func TestPiecesAreReadOnceAndWhole(t *testing.T) {
	p := &pieces{list: [][]byte{{1, 2, 3}, {4}, {5, 6}}}
	if err := iotest.TestReader(p, []byte{1, 2, 3, 4, 5, 6}); err != nil {
		t.Error(err)
	}
	large := make([]byte, 3*pieceBytes+1)
	for range 3 { // pieces serve again
		for i := range large {
			large[i] = byte(rand.Uint32())
		}
		got, err := receive(iotest.HalfReader(body(large)), int64(len(large)))
		if err != nil || len(got.list) != 4 {
			t.Fatalf("%d pieces, %v", len(got.list), err)
		}
		if err := iotest.TestReader(got, large); err != nil {
			t.Error(err)
		}
		if got, err = receive(body(large), int64(len(large))); err != nil {
			t.Fatal(err)
		}
		if err := got.Close(); err != nil {
			t.Error(err)
		}
		if n, err := got.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Error("read after it was closed")
		}
	}
}

func TestPeerIsAvoidedLongerWithEachFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAvoided(time.Second)
		pause := time.Second
		for i := range 8 {
			if !a.allow("p") {
				t.Fatalf("not asked again after failure %d", i)
			}
			a.failed("p")
			a.failed("p") // of a read that was under way, too
			if !a.avoids("p") || a.allow("p") || !a.allow("q") || a.count() != 1 {
				t.Fatal("not avoided, or another one is")
			}
			<-time.After(pause - 1)
			if a.allow("p") {
				t.Fatalf("asked before %v", pause)
			}
			<-time.After(1)
			pause = min(2*pause, 16*time.Second)
		}
		if first := a.allow("p"); !first || a.allow("p") {
			t.Fatal("not one read finds out whether it is well")
		}
		a.slow("p")
		<-time.After(2 * time.Second)
		if !a.avoids("p") {
			t.Fatal("too slow when it was tried, and not avoided for long")
		}
		a.answered("p")
		if again := a.allow("p"); !again || !a.allow("p") || len(a.peers) != 0 {
			t.Fatal("it answered and is not forgiven")
		}
	})
}

func TestMemoryOfPeersIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newAvoided(time.Second)
		for i := range 10 * maxAvoided {
			a.failed(fmt.Sprint(i))
			<-time.After(time.Microsecond)
		}
		if len(a.peers) != maxAvoided || !a.avoids(fmt.Sprint(10*maxAvoided-1)) {
			t.Errorf("%d peers are remembered, or not the last", len(a.peers))
		}
	})
}

// stuck is a cache that reads when it is let.
type stuck chan struct{}

func (s stuck) ReadOrigin(ctx context.Context, _ string, _, _, _ int64, _ cache.Class) ([][]byte, error) {
	select {
	case <-s:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestServedReadsAreBoundedAndKeptApartByClass(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg, held := Default(), make(stuck)
		cfg.ServeTail, cfg.ServeBackfill = 2, 1
		s, err := NewServer(cfg, keys, held, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		serve := func(ctx context.Context, class cache.Class) error {
			return s.Serve(ctx, objectKey(1, 1), 100, 0, 100, class, func([][]byte) error { return nil })
		}
		var peers sync.WaitGroup
		for range cfg.ServeBackfill * (1 + waitersPerSlot) {
			peers.Go(func() {
				if err := serve(t.Context(), cache.Backfill); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := serve(t.Context(), cache.Backfill); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
		for range cfg.ServeTail {
			peers.Go(func() {
				if err := serve(t.Context(), cache.Tail); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := serve(ctx, cache.Tail); !errors.Is(err, context.DeadlineExceeded) { // waits, and gives up
			t.Errorf("got %v", err)
		}
		close(held)
		peers.Wait()
		for class := range s.gates {
			if g := &s.gates[class]; len(g.slots) != 0 || g.waiting.Load() != 0 {
				t.Errorf("class %d: %d slots are held, %d wait", class, len(g.slots), g.waiting.Load())
			}
			if err := serve(t.Context(), cache.Class(class)); err != nil {
				t.Error(err)
			}
		}
	})
}

// unread is what peers were sent and have not taken.
type unread struct {
	mu         sync.Mutex
	read, held int64
	taken      chan struct{}
}

// ReadOrigin implements Cache.
func (u *unread) ReadOrigin(_ context.Context, _ string, _, _, n int64, _ cache.Class) ([][]byte, error) {
	u.add(n, 0)
	return [][]byte{make([]byte, n)}, nil
}

func (u *unread) add(read, held int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.read, u.held = u.read+read, u.held+held
}

// send waits until the peer takes what it is sent.
func (u *unread) send(parts [][]byte) error {
	u.add(0, int64(len(parts[0])))
	<-u.taken
	u.add(0, -int64(len(parts[0])))
	return nil
}

func TestAnswersThatPeersDoNotTakeAreBoundedInBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := Default()
		cfg.RegionBytes, cfg.ServeBytes = 100, 800
		cfg.ServeTail, cfg.ServeBackfill = 2, 1 // which those who only take nothing must not keep
		u := &unread{taken: make(chan struct{})}
		s, err := NewServer(cfg, keys, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		var peers sync.WaitGroup
		ask := func(n int64, class cache.Class) {
			peers.Go(func() {
				if err := s.Serve(t.Context(), objectKey(1, 1), 100, 0, n, class, u.send); err != nil {
					t.Error(err)
				}
			})
		}
		holds := func(want int64) {
			t.Helper()
			synctest.Wait()
			u.mu.Lock()
			defer u.mu.Unlock()
			if u.held != want {
				t.Errorf("peers were sent %d bytes that they have not taken, want %d", u.held, want)
			}
		}
		for range 10 {
			ask(100, cache.Tail)
		}
		holds(600)
		if u.read != 600 {
			t.Errorf("%d bytes were read", u.read)
		}
		for range 3 {
			ask(100, cache.Backfill)
		}
		holds(800)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Serve(ctx, objectKey(1, 1), 100, 0, 1, cache.Tail, u.send); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one more: %v", err)
		}
		u.taken <- struct{}{} // whoever takes, the next one of its class is sent
		holds(800)
		close(u.taken)
		peers.Wait()
		holds(0)
		for class := range s.gates {
			if g := &s.gates[class]; len(g.slots) != 0 || !g.room.TryAcquire([]int64{600, 200}[class]) {
				t.Errorf("class %d: something is still held", class)
			}
		}
	})
}

func TestRoomForAnswersToPeersGoesWithTheCache(t *testing.T) {
	for memory, want := range map[int64]int64{32 << 20: 32 << 20, 256 << 20: 64 << 20, 4 << 30: 1 << 30} {
		if c := Default().Within(memory); c.ServeBytes != want || c.Validate() != nil {
			t.Errorf("%d bytes for a cache of %d, %v", c.ServeBytes, memory, c.Validate())
		}
	}
}

func TestServerGivesNothingButDataObjects(t *testing.T) {
	c := newCluster(t)
	c.add("", "a")
	a := c.agents["a"]
	key := objectKey(99, 1)
	c.put(key)
	for _, x := range []struct {
		key          string
		size, off, n int64
		class        cache.Class
		want         error
	}{
		{key, objectBytes, 1, 2, cache.Tail, nil},
		{key, objectBytes, objectBytes, 0, cache.Backfill, nil},
		{"test/head", 100, 0, 10, cache.Tail, ErrRefused},
		{"other/data/" + key[len("test/data/"):], 100, 0, 10, cache.Tail, ErrRefused},
		{"../" + key, 100, 0, 10, cache.Tail, ErrRefused},
		{key, 1 << 40, 0, regionBytes + 1, cache.Tail, ErrRefused},
		{key, objectBytes, 0, -1, cache.Tail, ErrRefused},
		{key, objectBytes, 0, 1, 2, ErrRefused},
		{key, objectBytes, 0, 1, 255, ErrRefused},
		{key, objectBytes, -1, 1, cache.Tail, cache.ErrRange},
		{key, objectBytes, objectBytes, 1, cache.Tail, cache.ErrRange},
		{key, -1, 0, 1, cache.Tail, cache.ErrRange},
		{key, 1 << 62, 1<<62 - 1, 1, cache.Tail, objectstore.ErrRange},
		{objectKey(99, 2), objectBytes, 0, 1, cache.Tail, objectstore.ErrNotFound},
	} {
		parts, err := serve(t.Context(), a.server, x.key, x.size, x.off, x.n, x.class)
		if !errors.Is(err, x.want) || (err == nil) != (x.want == nil) {
			t.Errorf("%s %d, %d+%d: %v, want %v", x.key, x.size, x.off, x.n, err, x.want)
		}
		if err == nil {
			var n int64
			for _, p := range parts {
				n += int64(len(p))
			}
			if n != x.n {
				t.Errorf("%d bytes", n)
			}
		}
	}
}

func TestOldDataServedToPeersLeavesTheTailAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, func(c *cluster) { c.cached.MemoryBytes = 64 * (chunkBytes + 256) })
		c.add("", "a", "b")
		a, b := c.agents["a"], c.agents["b"]
		own := func(string, int64) string { return "b" }
		a.see(view{owner: own})
		b.see(view{owner: own})
		tail, old := objectKey(99, 1), someKeys(99, 9)[2:]
		c.put(append(old, tail)...)
		b.read(tail, 0, 8*chunkBytes, cache.Tail)
		c.total()
		for _, key := range old {
			a.read(key, 0, objectBytes, cache.Backfill)
		}
		c.total()
		b.read(tail, 0, 8*chunkBytes, cache.Tail)
		if gets, _ := c.total(); gets != 0 {
			t.Errorf("the tail was pushed out: %d GETs", gets)
		}
	})
}

func TestMetricsOfTwoReadersDoNotMeet(t *testing.T) {
	reg := prometheus.NewRegistry()
	deps := Deps{Register: reg}
	if _, err := New(Default(), deps); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Default(), deps); err == nil {
		t.Error("registered twice")
	}
	for range 2 {
		if _, err := New(Default(), Deps{}); err != nil {
			t.Error(err)
		}
		if _, err := NewServer(Default(), keys, nil, nil); err != nil {
			t.Error(err)
		}
	}
}
