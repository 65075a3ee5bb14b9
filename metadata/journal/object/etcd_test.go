package object

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/etcd"
	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
)

// TestOneOfTwoBucketsIsBound: clusters that find one fresh prefix at the same time do not share it. All agents of one get it, and all
// of the other are told.
func TestOneOfTwoBucketsIsBound(t *testing.T) {
	if testing.Short() {
		t.Skip("short: needs a server")
	}
	server, err := etcdproc.Start(t.Context(), t.TempDir(), etcdproc.Options{})
	must(t, err)
	defer server.Stop()
	keys := testKeys(t)
	for round := range 20 {
		open := func() *etcd.Journal {
			j, err := etcd.Open(t.Context(), fmt.Sprintf("etcd://%s/round/%d", strings.Join(server.Addresses(), ","), round))
			must(t, err)
			t.Cleanup(func() { j.Close() })
			return j
		}
		stores := []objectstore.Store{mem.New(), mem.New()}
		var errs [2][3]error
		var agents [2][3]*etcd.Journal
		for b := range agents {
			for a := range agents[b] {
				agents[b][a] = open()
			}
		}
		var wg sync.WaitGroup
		for b := range agents {
			for a, j := range agents[b] {
				wg.Go(func() { errs[b][a] = Bind(t.Context(), stores[b], keys, j) })
			}
		}
		wg.Wait()
		bound := 0
		for b := range errs {
			if errs[b][0] == nil {
				bound++
			}
			for _, err := range errs[b] {
				if (err == nil) != (errs[b][0] == nil) || err != nil && !errors.Is(err, journal.ErrMismatch) {
					t.Fatalf("round %d: agents of bucket %d: %v", round, b, errs[b])
				}
			}
			if again := Bind(t.Context(), stores[b], keys, open()); (again == nil) != (errs[b][0] == nil) {
				t.Fatalf("round %d: bucket %d, later: %v", round, b, again)
			}
		}
		if bound != 1 {
			t.Fatalf("round %d: %d buckets are bound to one journal: %v", round, bound, errs)
		}
	}
}
