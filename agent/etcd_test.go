package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/agent"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
)

// TestAgentKeepsItsJournalInEtcd: what was acknowledged is there after the agent and etcd were replaced, and a bucket and a
// journal that do not belong together are refused.
func TestAgentKeepsItsJournalInEtcd(t *testing.T) {
	server, err := etcdproc.Start(t.Context(), t.TempDir(), etcdproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	store := "file://" + t.TempDir() + "/bucket"
	cfg := config(store, server.URL("leat/test"))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a := start(t, cfg)
	a.topic("events", 1)
	cl := a.client(kgo.DefaultProduceTopic("events"))
	produce := func(cl *kgo.Client, value string) {
		t.Helper()
		if err := cl.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce(cl, "one")
	server.Members[0].Kill()
	acked := make(chan error, 1)
	cl.Produce(ctx, kgo.StringRecord("two"), func(_ *kgo.Record, err error) { acked <- err })
	if err := server.Members[0].Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
	a.stop()

	a = start(t, cfg)
	produce(a.client(kgo.DefaultProduceTopic("events")), "three")
	consumer := a.client(kgo.ConsumeTopics("events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var got []string
	for len(got) < 3 {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if strings.Join(got, " ") != "one two three" {
		t.Errorf("consumed %q", got)
	}
	a.stop()

	for name, wrong := range map[string]agent.Config{
		"another bucket":           config("file://"+t.TempDir()+"/bucket", cfg.Journal),
		"another prefix":           config(store, server.URL("leat/other")),
		"a journal in a file":      config(store, "bolt://"+t.TempDir()+"/journal"),
		"a journal in the bucket":  config(store, "bucket:"),
		"a prefix above the right": config(store, server.URL("leat")),
	} {
		_, err := agent.Open(t.Context(), wrong, slog.New(slog.DiscardHandler))
		if !errors.Is(err, journal.ErrMismatch) && !errors.Is(err, journal.ErrNoHead) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
