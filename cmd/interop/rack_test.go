//go:build interop

package interop

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/cmd/interop/javatools"
)

// TestJavaConsumerReadsInItsRack: records are produced in zone a, and that is where Metadata sends the consumer; its client.rack is
// zone b, so it is pointed to the replica there (KIP-392), which it would ignore if Metadata did not name it as one.
func TestJavaConsumerReadsInItsRack(t *testing.T) {
	c := newCluster(t, "bucket:")
	agents := map[string]*member{}
	for _, zone := range []string{"a", "b", "c"} {
		agents[zone] = c.plan(t, 1, "--zone", zone)[0]
	}
	c.start(t, c.agents...)
	settled(t, c.agents)
	const records, size = 2000, 1024
	producer, err := kgo.NewClient(kgo.SeedBrokers(agents["a"].kafka), kgo.ClientID("zone=a"), kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic("racked"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var want []string
	for range records {
		value := make([]byte, size/2)
		_, _ = rand.Read(value)
		want = append(want, hex.EncodeToString(value))
		producer.Produce(ctx, kgo.StringRecord(want[len(want)-1]), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := producer.Flush(ctx); err != nil {
		t.Fatal(err)
	}

	sent := map[string]float64{}
	for zone, m := range agents {
		sent[zone] = m.metrics(t).Sum("leat_wire_sent_bytes_total")
	}
	s := session{addr: agents["a"].kafka}
	contains(t, s.java(t, "", javatools.Topics, "--describe", "--topic", "racked"), "ReplicationFactor: 3")
	got := lines(s.java(t, "", javatools.ConsoleConsumer, "--topic", "racked", "--from-beginning", "--max-messages", strconv.Itoa(records),
		"--timeout-ms", "60000", "--command-property", "client.rack=b", "--command-property", "client.id=zone=a"))
	sameLines(t, got, want)
	if n := agents["a"].metrics(t).Sum("leat_api_replica_pointers_total"); n == 0 {
		t.Error("the consumer was never pointed to the replica in its rack")
	}
	for zone, m := range agents {
		sent[zone] = m.metrics(t).Sum("leat_wire_sent_bytes_total") - sent[zone]
	}
	if sent["b"] < records*size || sent["a"]+sent["c"] > records*size/10 {
		t.Errorf("a consumer in zone b read %d bytes of records; the agents of the zones sent %s", records*size, fmt.Sprint(sent))
	}
}
