package meter_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/mem"
	"github.com/leat-stream/leat/objectstore/meter"
	"github.com/leat-stream/leat/objectstore/storetest"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

func TestItIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) objectstore.Store { return meter.New(mem.New()) })
}

func TestItCountsWhatTheBucketBills(t *testing.T) {
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	inner := fake.New(keys)
	s := meter.New(inner)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s)
	ctx := t.Context()

	put := func(i uint64) error {
		_, err := s.Put(ctx, keys.Journal(i), objectstore.NewBody([]byte("0123"), []byte("456789")), objectstore.IfAbsent())
		return err
	}
	var all []string
	for i := range uint64(1001) {
		all = append(all, keys.Journal(i))
		if err := put(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(0); !errors.Is(err, objectstore.ErrLost) {
		t.Fatal(err)
	}
	before := s.Snapshot()
	if want := (meter.Counts{Put: meter.Count{Requests: 1002, Failures: 1, Bytes: 10020}}); before != want {
		t.Fatalf("%+v, want %+v", before, want)
	}

	inner.Script(fake.Rule{Op: fake.Get, Skip: 2, Fault: fake.Cut})
	for i := range uint64(3) {
		o, err := s.Get(ctx, keys.Journal(i), objectstore.Range{Length: 4})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(o.Reader) // 4, 4 and 2 bytes
	}
	_, _ = s.Get(ctx, keys.Head(), objectstore.Range{})
	for range s.List(ctx, keys.JournalPrefix(), "") { // two pages
	}
	for range s.List(ctx, keys.JournalPrefix(), all[0]) { // just one
	}
	for range s.List(ctx, keys.DataPrefix([16]byte{}), "") {
	}
	if err := errors.Join(s.Delete(ctx), s.Delete(ctx, all[:1]...), s.Delete(ctx, all[:1000]...), s.Delete(ctx, all...)); err != nil {
		t.Fatal(err)
	}
	want := meter.Counts{
		Get: meter.Count{Requests: 4, Failures: 2, Bytes: 10}, Delete: meter.Count{Requests: 4}, List: meter.Count{Requests: 4},
	}
	if got := s.Snapshot().Sub(before); got != want || got.Requests() != 12 {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if got := series(t, registry); !slices.Equal(got, wantSeries) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantSeries, "\n"))
	}
}

var wantSeries = []string{
	"leat_objectstore_broken_reads_total 1",
	"leat_objectstore_bytes_total get 10",
	"leat_objectstore_bytes_total put 10020",
	"leat_objectstore_request_seconds delete 3",
	"leat_objectstore_request_seconds get 4",
	"leat_objectstore_request_seconds list 3",
	"leat_objectstore_request_seconds put 1002",
	"leat_objectstore_requests_total delete ok 4",
	"leat_objectstore_requests_total get not_found 1",
	"leat_objectstore_requests_total get ok 3",
	"leat_objectstore_requests_total list ok 4",
	"leat_objectstore_requests_total put lost 1",
	"leat_objectstore_requests_total put ok 1001",
}

// series prints each series of a registry as its name, the values of its labels, and its value; of a histogram the count.
func series(t *testing.T, registry *prometheus.Registry) (lines []string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			line := family.GetName()
			for _, label := range m.GetLabel() {
				line += " " + label.GetValue()
			}
			value := m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				value = float64(h.GetSampleCount())
			}
			lines = append(lines, fmt.Sprintf("%s %g", line, value))
		}
	}
	return lines
}
