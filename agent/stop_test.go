package agent_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/agent"
)

// stopTime is within which an agent ends once it is told to, whatever the bucket does. Its own times add up to what
// TestAnAgentsLastSecondsAreFewerThanSupervisorsGive says; this machine may stall.
const stopTime = 25 * time.Second

// takeAway makes the journal of the cluster in a folder store unreachable, as a bucket that is away is.
func takeAway(t *testing.T, root, cluster string) {
	t.Helper()
	folder := filepath.Join(root, cluster, "journal")
	if err := os.Rename(folder, folder+".away"); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ready tells whether an agent's HTTP address says that it serves.
func ready(address string) bool {
	resp, err := http.Get("http://" + address + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func TestAnAgentIsToldToStopWhileItStartsAndTheBucketIsAway(t *testing.T) {
	root := t.TempDir()
	cfg := config("file://"+root, "bucket:")
	a, err := agent.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	takeAway(t, root, cfg.Cluster)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("nothing was accepted, nothing is left to do: %v", err)
		}
	case <-time.After(stopTime):
		t.Fatal("the agent does not stop")
	}
}

func TestAnAgentStopsInTimeWithRecordsThatTheBucketDoesNotTake(t *testing.T) {
	t.Run("alone", func(t *testing.T) { stopWithoutBucket(t, false) })
	t.Run("among others", func(t *testing.T) { stopWithoutBucket(t, true) }) // to whom clients are given time to go
}

func stopWithoutBucket(t *testing.T, among bool) {
	t.Parallel()
	root := t.TempDir()
	cfg := config("file://"+root, "bucket:")
	cfg.Topics.Partitions = 8 // so that either agent leads some
	if among {
		other, stop := context.WithCancel(t.Context())
		b, err := agent.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- b.Run(other) }() // ends with the test, without its journal
		t.Cleanup(func() { stop(); <-ended })
		eventually(t, "the other agent serves", func() bool { return ready(b.HTTPAddr()) })
	}
	a, err := agent.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	eventually(t, "the agent serves", func() bool { return ready(a.HTTPAddr()) })
	cl, err := kgo.NewClient(kgo.SeedBrokers(a.Addr("default")), kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.MetadataMinAge(50*time.Millisecond), kgo.UnknownTopicRetries(100))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("taken")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	takeAway(t, root, cfg.Cluster)
	acked := make(chan error, cfg.Topics.Partitions)
	for range cfg.Topics.Partitions {
		cl.Produce(t.Context(), kgo.StringRecord("not taken"), func(_ *kgo.Record, err error) {
			if err == nil {
				t.Error("a record was acknowledged whose commit is not in the journal")
			}
			acked <- err
		})
	}
	eventually(t, "an object was stored and waits for its commit", func() bool {
		objects, _ := filepath.Glob(filepath.Join(root, cfg.Cluster, "data", "*", "*"))
		return len(objects) > 1
	})
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the session could not be closed, and nobody is told")
		}
	case <-time.After(stopTime):
		t.Fatal("the agent does not stop")
	}
	cl.Close() // gives up the records
	for range cfg.Topics.Partitions {
		<-acked
	}
}
