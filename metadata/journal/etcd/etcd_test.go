package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
	"github.com/leat-stream/leat/metadata/journal/journaltest"
)

// server is one etcd that all tests share which do not harm it for good, each below a prefix of its own. Tests of this package
// do not run in parallel.
var (
	server   *etcdproc.Cluster
	process  = rand.Text()
	prefixes atomic.Int64
)

func TestMain(m *testing.M) {
	os.Unsetenv(EnvUser)
	os.Unsetenv(EnvPassword)
	dir, err := os.MkdirTemp("", "leat-etcd")
	if err == nil {
		server, err = etcdproc.Start(context.Background(), dir, etcdproc.Options{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	os.RemoveAll(dir)
	os.Exit(code)
}

// config is that of a fresh journal in the shared etcd. Its prefix is used by no other process either, so that one which takes another's etcd
// for its own finds no journal there, rather than a strange one.
func config() Config {
	return Config{Endpoints: server.Addresses(), Prefix: fmt.Sprintf("/test/%s/%d", process, prefixes.Add(1)), Compact: true}
}

// testContext bounds a test that has gone wrong; nothing waits for its end.
func testContext(t testing.TB) context.Context {
	ctx, cancel := contextOf(3 * time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func contextOf(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func openTest(t testing.TB, c Config, more ...grpc.DialOption) *Journal {
	t.Helper()
	j, err := open(testContext(t), c, more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func harness(t *testing.T, wired bool) journaltest.Harness {
	c := config()
	h := journaltest.Harness{
		Open: func(t *testing.T) journaltest.Process {
			if !wired {
				return journaltest.Process{Journal: openTest(t, c)}
			}
			w := &wire{}
			return journaltest.Process{Journal: openTest(t, c, grpc.WithChainUnaryInterceptor(w.intercept)), Wire: w}
		},
		RemoveHead: func(t *testing.T) {
			j := openTest(t, c)
			if _, err := j.client.Delete(t.Context(), j.keys.head()); err != nil {
				t.Fatal(err)
			}
		},
		Kept: func(t *testing.T) []uint64 { return kept(t, openTest(t, c)) },
	}
	h.Restart = func(t *testing.T) journaltest.Process {
		server.Members[0].Kill()
		if err := server.Members[0].Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		return h.Open(t)
	}
	return h
}

// kept answers the indexes of the entries that are stored.
func kept(t *testing.T, j *Journal) (all []uint64) {
	t.Helper()
	r, err := j.client.Get(t.Context(), j.keys.entry(0), clientv3.WithRange(j.keys.entriesEnd()), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		index, err := j.keys.index(kv.Key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, index)
	}
	return all
}

// bare has no wire: a request that is held up or repeated cannot land where it should not, so the traces V2 and V3 are
// refused at the step that would lead into them.
func bare(t *testing.T) journaltest.Harness { return harness(t, false) }

func TestJournal(t *testing.T)           { journaltest.Run(t, bare) }
func TestV1LostAck(t *testing.T)         { journaltest.V1LostAck(t, bare(t)) }
func TestV1LostAckWired(t *testing.T)    { journaltest.V1LostAck(t, harness(t, true)) }
func TestV2DivergedReplica(t *testing.T) { journaltest.V2DivergedReplica(t, bare(t)) }
func TestV3WrongBase(t *testing.T)       { journaltest.V3WrongBase(t, bare(t)) }
func TestV4StaleRead(t *testing.T)       { journaltest.V4StaleRead(t, bare(t)) }

// lead catches up from the first entry and leads.
func lead(t testing.TB, j *Journal) (journal.Term, *journaltest.Replica) {
	t.Helper()
	r := &journaltest.Replica{}
	if err := r.CatchUp(testContext(t), j); err != nil {
		t.Fatal(err)
	}
	term, err := j.Lead(testContext(t), r.Applied(), []byte("leader"))
	if err != nil {
		t.Fatal(err)
	}
	*r = append(*r, term.Fence())
	return term, r
}

func appendTo(t testing.TB, term journal.Term, r *journaltest.Replica, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		e, err := term.Append(testContext(t), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		*r = append(*r, e)
	}
}

// wantReplay checks that whoever starts from nothing reads exactly want.
func wantReplay(t testing.TB, j *Journal, want journaltest.Replica) {
	t.Helper()
	var got journaltest.Replica
	if err := got.CatchUp(testContext(t), j); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries are read, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Index != want[i].Index || got[i].Kind != want[i].Kind || got[i].Term != want[i].Term || string(got[i].Body) != string(want[i].Body) {
			t.Fatalf("entry %d is not the one that was acknowledged", i+1)
		}
	}
}

func TestAgentsThatStartTogetherMakeOneJournal(t *testing.T) {
	c := config()
	opened := make(chan *Journal, 8)
	for range cap(opened) {
		go func() {
			j, err := open(testContext(t), c)
			if err != nil {
				t.Error(err)
			}
			opened <- j
		}()
	}
	var id [16]byte
	for range cap(opened) {
		j := <-opened
		if j == nil {
			continue
		}
		t.Cleanup(func() { j.Close() })
		driver, cluster, bucket, err := j.Identity()
		if err != nil || driver != journal.DriverEtcd || bucket != nil || cluster == [16]byte{} || (id != [16]byte{} && cluster != id) {
			t.Errorf("driver %s, cluster %x after %x, bound to %x, %v", driver, cluster, id, bucket, err)
		}
		id = cluster
	}
}

func TestMarkBoundLasts(t *testing.T) {
	c, own := config(), [16]byte{1}
	for range 2 {
		if err := openTest(t, c).MarkBound(own); err != nil {
			t.Fatal(err)
		}
	}
	if err := openTest(t, c).MarkBound([16]byte{2}); !errors.Is(err, journal.ErrMismatch) {
		t.Errorf("another bucket: %v", err)
	}
	if _, _, bucket, err := openTest(t, c).Identity(); err != nil || bucket == nil || *bucket != own {
		t.Fatalf("bound to %x, %v", bucket, err)
	}
	old := openTest(t, config()) // what was bound before buckets had ids is bound still
	if _, err := old.client.Put(t.Context(), old.keys.bound(), "1"); err != nil {
		t.Fatal(err)
	}
	if err := old.MarkBound([16]byte{}); err != nil {
		t.Error(err)
	}
	if err := old.MarkBound(own); !errors.Is(err, journal.ErrMismatch) {
		t.Errorf("another bucket than that of before: %v", err)
	}
}

func TestPrefixIsNobodyElses(t *testing.T) {
	c := config()
	var all []*Journal
	for _, neighbour := range []string{"-x", "", "0"} { // all begin with the same, and none is below another
		n := c
		n.Prefix += neighbour
		j := openTest(t, n)
		lead(t, j)
		all = append(all, j)
	}
	if all[0].cluster == all[1].cluster || all[1].cluster == all[2].cluster {
		t.Error("two prefixes are one journal")
	}
	for _, j := range all {
		if err := j.Tip(testContext(t), 1); err != nil {
			t.Error(err)
		}
	}
}

// TestNothingIsAppendedWithoutHead: J6, and a term that began before head was lost is no exception.
func TestNothingIsAppendedWithoutHead(t *testing.T) {
	j := openTest(t, config())
	term, r := lead(t, j)
	appendTo(t, term, r, "2")
	if _, err := j.client.Delete(t.Context(), j.keys.head()); err != nil {
		t.Fatal(err)
	}
	if _, err := term.Append(testContext(t), []byte("3")); !errors.Is(err, journal.ErrUnknown) || !errors.Is(err, journal.ErrNoHead) {
		t.Errorf("append: %v", err)
	}
	if got := kept(t, j); len(got) != 2 {
		t.Errorf("stored entries are %v", got)
	}
	if err := j.MarkBound([16]byte{1}); !errors.Is(err, journal.ErrNoHead) {
		t.Errorf("mark bound: %v", err)
	}
}

func TestKeysWithoutHeadAreNoJournal(t *testing.T) {
	c := config()
	j := openTest(t, c)
	lead(t, j)
	if _, err := j.client.Delete(t.Context(), j.keys.head()); err != nil {
		t.Fatal(err)
	}
	_, err := open(testContext(t), c)
	if !errors.Is(err, journal.ErrNoHead) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), c.Prefix) {
		t.Fatal(err)
	}
}

// TestExchangedJournalIsRefused: a process that has a journal open does not go on with another one in its place.
func TestExchangedJournalIsRefused(t *testing.T) {
	c := config()
	j := openTest(t, c)
	term, _ := lead(t, j)
	if _, err := j.client.Delete(t.Context(), c.Prefix+"/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	other := openTest(t, c)
	lead(t, other)
	if _, err := j.Head(testContext(t)); !errors.Is(err, journal.ErrMismatch) {
		t.Errorf("head: %v", err)
	}
	if _, err := term.Append(testContext(t), []byte("x")); !errors.Is(err, journal.ErrMismatch) || !errors.Is(err, journal.ErrUnknown) {
		t.Errorf("append: %v", err)
	}
	if err := other.Tip(testContext(t), 1); err != nil {
		t.Errorf("the other journal was harmed: %v", err)
	}
}

// TestOlderCopyIsNoticed: whoever knows more than etcd holds neither leads nor reads as if nothing were lost.
func TestOlderCopyIsNoticed(t *testing.T) {
	j := openTest(t, config())
	term, r := lead(t, j)
	appendTo(t, term, r, "2")
	older := position{1, term.Fence().Term}
	_, err := j.client.Txn(t.Context()).Then(clientv3.OpPut(j.keys.tip(), older.encode()), clientv3.OpDelete(j.keys.entry(2))).Commit()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Tip(testContext(t), 2); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("tip: %v", err)
	}
	if _, err := j.Lead(testContext(t), 2, nil); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("lead: %v", err)
	}
	if _, err := term.Append(testContext(t), []byte("3")); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("append: %v", err)
	}
}

// TestHoleAndDamageAreNamed: what etcd hands back is checked like bytes from a bucket.
func TestHoleAndDamageAreNamed(t *testing.T) {
	for name, harm := range map[string]func(j *Journal) clientv3.Op{
		"hole": func(j *Journal) clientv3.Op { return clientv3.OpDelete(j.keys.entry(2)) },
		"end is gone": func(j *Journal) clientv3.Op {
			return clientv3.OpDelete(j.keys.entry(2), clientv3.WithRange(j.keys.entriesEnd()))
		},
		"damage": func(j *Journal) clientv3.Op {
			return clientv3.OpPut(j.keys.entry(2), "LeJE garbage, long enough to look like an entry")
		},
		"stub": func(j *Journal) clientv3.Op {
			return clientv3.OpPut(j.keys.entry(2), "LeJP garbage, long enough to be a stub")
		},
		"no parts": func(j *Journal) clientv3.Op {
			return clientv3.OpPut(j.keys.entry(2), string(stub{length: 200_000}.encode()))
		},
		"foreign key":  func(j *Journal) clientv3.Op { return clientv3.OpPut(j.keys.entry(1)+"x", "") },
		"damaged head": func(j *Journal) clientv3.Op { return clientv3.OpPut(j.keys.head(), "LeJH garbage") },
		"damaged tip":  func(j *Journal) clientv3.Op { return clientv3.OpPut(j.keys.tip(), "LeJT garbage") },
	} {
		j := openTest(t, config())
		term, r := lead(t, j)
		appendTo(t, term, r, "2", "3")
		if _, err := j.client.Txn(t.Context()).Then(harm(j)).Commit(); err != nil {
			t.Fatal(err)
		}
		var last error
		n := 0
		for _, err := range j.Read(testContext(t), 1) {
			n, last = n+1, err
		}
		if want := 2; !errors.Is(last, journal.ErrCorrupt) || (n != want && !strings.HasPrefix(name, "damaged ")) {
			t.Errorf("%s: read ended after %d with %v", name, n, last)
		}
	}
}

func TestNobodyThereIsSaidInOneLine(t *testing.T) {
	for d := 300 * time.Millisecond; ; d *= 2 { // which may be too short to be refused
		ctx, cancel := context.WithTimeout(t.Context(), d)
		_, err := Open(ctx, "etcd://127.0.0.1:1/leat")
		cancel()
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "127.0.0.1:1/leat") {
			t.Fatal(err)
		}
		if strings.Contains(err.Error(), "refused") {
			return
		}
		if d > time.Minute {
			t.Fatalf("it does not say why: %v", err)
		}
	}
}
