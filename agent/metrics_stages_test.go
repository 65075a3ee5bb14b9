package agent_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestEveryStageOfTheJourneyIsMeasured, in and out, by stage and by topic, on an agent and on one that follows it.
func TestEveryStageOfTheJourneyIsMeasured(t *testing.T) {
	store := "file://" + t.TempDir() + "/bucket"
	one, two := start(t, config(store, "bucket:")), start(t, config(store, "bucket:"))
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
		if sum(name+"_count") == 0 {
			t.Errorf("%s measures nothing", name)
		}
	}
	if in, out := sum("leat_topic_records_total", `direction="in"`, `topic="t"`), sum("leat_topic_records_total", `direction="out"`, `topic="t"`); in != 30 || out != 30 {
		t.Errorf("%v records in, %v out, want 30", in, out)
	}
	if in, all := sum("leat_topic_bytes_total", `direction="in"`), sum("leat_produce_bytes_total"); in != all || all == 0 {
		t.Errorf("%v bytes in by topic, %v in all", in, all)
	}
	if out, all := sum("leat_topic_bytes_total", `direction="out"`), sum("leat_fetch_bytes_total"); out != all || all == 0 {
		t.Errorf("%v bytes out by topic, %v in all", out, all)
	}
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
