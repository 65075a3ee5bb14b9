//go:build image

package image

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
)

// startMinio starts MinIO at an address of the loopback device, over the folder of the test.
func startMinio(t *testing.T, address string) *minioproc.Server {
	t.Helper()
	server, err := minioproc.Start(t.Context(), t.TempDir(), minioproc.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// TestImageServes: the image, with its own flags and no place that it could write to, serves a record and says that it is healthy; as its
// user, with no capability and no way to any.
func TestImageServes(t *testing.T) {
	server := startMinio(t, addresses["minio"]+":9000")
	c := newContainer(t, append(server.Env(), "LEAT_STORE="+server.S3URL("image"), "LEAT_ADVERTISE=localhost:9092", "LEAT_CACHE_MEMORY=48MiB"))
	c.start(t, "")
	c.ready(t)
	for name, want := range map[string]string{
		"Uid": uidOf(c.user), "Gid": uidOf(c.user), "Groups": "", "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "NoNewPrivs": "1",
	} {
		if got := status(t, c.process.PID(), name); got != want && !strings.HasPrefix(got, want+"\t") {
			t.Errorf("%s of the process is %q, want %q", name, got, want)
		}
	}
	if options := rootMount(t, c.process.PID()); !strings.HasPrefix(options, "ro,") {
		t.Errorf("its root is mounted %s", options)
	}
	roundTrip(t, "localhost:9092", "image", 1)
	c.stop(t)
	if err := c.healthy(t); err == nil || !strings.Contains(err.Error(), "leat: ") {
		t.Errorf("an agent that has ended is healthy: %v", err)
	}
}

// TestImageCachesOnAVolume: a tmpfs at /cache is enough for the disk cache, for the image's user alone.
func TestImageCachesOnAVolume(t *testing.T) {
	server := startMinio(t, addresses["minio"]+":9000")
	env := append(server.Env(), "LEAT_STORE="+server.S3URL("cache"), "LEAT_ADVERTISE=localhost:9092", "LEAT_CACHE_DIR=/cache", "LEAT_CACHE_DISK=96MiB")
	c := newContainer(t, env)
	c.start(t, "/cache:size=128m,mode=0700,uid="+uidOf(c.user))
	c.ready(t)
	roundTrip(t, "localhost:9092", "cache", 1)
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/cache", c.process.PID())); err != nil || len(files) == 0 {
		t.Errorf("in /cache: %v, %v", files, err)
	}
	c.stop(t)

	// Without the volume the agent says in one line what is missing.
	bare := newContainer(t, env)
	bare.start(t, "")
	select {
	case <-bare.process.Done():
	case <-time.After(patience):
		t.Fatal("it runs without a place for its cache")
	}
	if said := bare.process.String(); bare.process.ExitCode() != 1 || !strings.Contains(said, "/cache") || strings.Count(said, "leat: ") != 1 {
		t.Errorf("exit code %d: %s", bare.process.ExitCode(), said)
	}
}

// TestImageSaysWhatItNeeds: told nothing, the image says in one line what it must be told.
func TestImageSaysWhatItNeeds(t *testing.T) {
	c := newContainer(t, nil)
	c.start(t, "")
	<-c.process.Done()
	if said := c.process.String(); c.process.ExitCode() != 1 || !strings.Contains(said, "--advertise") || strings.Contains(said, "\n") {
		t.Errorf("exit code %d: %s", c.process.ExitCode(), said)
	}
}

func uidOf(user string) string {
	uid, _, _ := strings.Cut(user, ":")
	return uid
}

// status answers a line of /proc/PID/status.
func status(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in the status of a process", name)
	return ""
}

// rootMount answers the options of the mount that a process has for its root.
func rootMount(t *testing.T, pid int) string {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 5 && f[4] == "/" {
			return f[5]
		}
	}
	return "nowhere"
}

// newClient makes a client, closed when the test ends.
func newClient(t *testing.T, address string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(address), kgo.MetadataMinAge(100 * time.Millisecond), kgo.AlwaysRetryEOF(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// roundTrip makes a topic, produces n records and reads them back in order.
func roundTrip(t *testing.T, address, topic string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := newClient(t, address, kgo.DefaultProduceTopic(topic))
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	produce(ctx, t, client, 0, n)
	wantRecords(ctx, t, address, topic, n)
}

// produce produces numbers and waits until all are acknowledged.
func produce(ctx context.Context, t *testing.T, client *kgo.Client, from, to int) {
	t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Value: []byte(strconv.Itoa(i))})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// wantRecords reads a topic of one partition, which must hold the numbers below n in order.
func wantRecords(ctx context.Context, t *testing.T, address, topic string, n int) {
	t.Helper()
	client := newClient(t, address, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := ends.Lookup(topic, 0); end.Err != nil || end.Offset != int64(n) {
		t.Errorf("the topic ends at %d, %v; want %d", end.Offset, end.Err, n)
	}
	for next := 0; next < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("record %d: %v", next, err)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) != strconv.Itoa(next) || r.Offset != int64(next) {
				t.Fatalf("%q at %d, want %d", r.Value, r.Offset, next)
			}
			next++
		}
	}
}
