package traffic

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata/state"
)

func id(n uint32) (u state.UUID) {
	binary.BigEndian.PutUint32(u[:], n)
	return u
}

// scrape answers the samples by name, topic and direction.
func scrape(t *testing.T, topics *Topics) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(topics)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}

func TestTopicsAreCountedByNameAndDirection(t *testing.T) {
	topics := New(func(u state.UUID) (string, bool) { return fmt.Sprint("t", u[3]), u[3] != 9 })
	topics.Produced(id(1), 10, 100)
	topics.Produced(id(1), 1, 5)
	topics.Fetched(id(1), 3, 30)
	topics.Fetched(id(2), 4, 40)
	topics.Fetched(id(9), 4, 40) // deleted by now
	got := scrape(t, topics)
	for key, want := range map[string]float64{
		"leat_topic_records_total in t1": 11, "leat_topic_bytes_total in t1": 105,
		"leat_topic_records_total out t1": 3, "leat_topic_bytes_total out t1": 30,
		"leat_topic_records_total in t2": 0, "leat_topic_bytes_total out t2": 40,
		"leat_topic_bytes_total out (other)": 0, "leat_topic_counted": 2,
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s is %v, %v, want %v", key, value, ok, want)
		}
	}
	if len(got) != 13 {
		t.Errorf("%d samples, want 13: %v", len(got), got)
	}
}

func TestTopicsBeyondTheBoundAreCountedTogether(t *testing.T) {
	gone := state.UUID{}
	topics := New(func(u state.UUID) (string, bool) { return u.String(), u != gone })
	for n := range uint32(MaxTopics + 5) {
		topics.Produced(id(n+1), 1, 2)
	}
	got := scrape(t, topics)
	if got["leat_topic_counted"] != MaxTopics || got["leat_topic_records_total in (other)"] != 5 || got["leat_topic_bytes_total in (other)"] != 10 {
		t.Fatalf("%v counted, %v records of others", got["leat_topic_counted"], got["leat_topic_records_total in (other)"])
	}
	gone = id(7)
	scrape(t, topics) // forgets it
	topics.Produced(id(MaxTopics+9), 1, 2)
	if got = scrape(t, topics); got["leat_topic_counted"] != MaxTopics || got["leat_topic_records_total in "+id(MaxTopics+9).String()] != 1 {
		t.Fatalf("a deleted topic makes no room: %v counted", got["leat_topic_counted"])
	}
}

func BenchmarkCount(b *testing.B) {
	topics := New(func(state.UUID) (string, bool) { return "", false })
	topics.Produced(id(1), 1, 1)
	b.ReportAllocs()
	for b.Loop() {
		topics.Produced(id(1), 100, 10_000)
	}
}
