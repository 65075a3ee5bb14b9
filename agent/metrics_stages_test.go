package agent_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestEveryStageOfTheJourneyIsMeasured, in and out, by stage and by topic, on an agent and on one that follows it.
func TestEveryStageOfTheJourneyIsMeasured(t *testing.T) {
	store := "file://" + t.TempDir() + "/bucket"
	one, two := start(t, config(store, "bucket:")), start(t, config(store, "bucket:"))
	for _, a := range []*running{one, two} { // before, an agent may name itself where the other one is meant
		eventually(t, "they know each other", func() bool { return a.brokers() == 2 })
	}
	one.topic("t", partitions)
	records := corpus("t", 30)
	reader := one.client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	eventually(t, "a fetch waits", func() bool { return one.metric("leat_fetch_waiting")+two.metric("leat_fetch_waiting") > 0 })
	produceAll(t, one.client(kgo.RecordPartitioner(kgo.ManualPartitioner())), records)
	for n := 0; n < len(records); {
		polled := reader.PollFetches(t.Context())
		if err := polled.Err(); err != nil {
			t.Fatal(err)
		}
		n += polled.NumRecords()
	}
	sum := func(name string, labels ...string) float64 {
		return one.metric(name, labels...) + two.metric(name, labels...)
	}
	for _, name := range []string{
		"leat_produce_seal_seconds", "leat_produce_upload_seconds", "leat_produce_queue_seconds", "leat_produce_commit_seconds", "leat_produce_ack_seconds",
		"leat_fetch_locate_seconds", "leat_fetch_wait_seconds", "leat_fetch_read_seconds", "leat_fetch_seconds", "leat_journal_append_seconds",
	} {
		eventually(t, name+" is measured", func() bool { return sum(name+"_count") > 0 })
	}
	eventually(t, "30 records come in, and 30 go out", func() bool {
		return sum("leat_topic_records_total", `direction="in"`, `topic="t"`) == 30 && sum("leat_topic_records_total", `direction="out"`, `topic="t"`) == 30
	})
	eventually(t, "bytes are as many by topic as in all", func() bool {
		in, out := sum("leat_produce_bytes_total"), sum("leat_fetch_bytes_total")
		return in > 0 && out > 0 && sum("leat_topic_bytes_total", `direction="in"`) == in && sum("leat_topic_bytes_total", `direction="out"`) == out
	})
	if led := sum("leat_agent_partitions_led"); led != partitions {
		t.Errorf("%v partitions are led, of %d", led, partitions)
	}
	if leading := sum("leat_metadata_leading"); leading != 1 {
		t.Errorf("%v leaders", leading)
	}
	eventually(t, "both know and have applied the same", func() bool {
		known, applied := two.metric("leat_metadata_known_index"), one.metric("leat_metadata_applied_index")
		return known == applied && two.metric("leat_metadata_applied_index") == applied && one.metric("leat_metadata_known_index") == known && known > 3
	})
	if ready := sum("leat_agent_ready"); ready != 2 {
		t.Errorf("%v of two agents are ready", ready)
	}
}
