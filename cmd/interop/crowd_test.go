//go:build interop

package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/cmd/interop/javatools"
	"github.com/leat-stream/leat/localstack/proc"
)

// What each library of a crowd does: an idempotent producer and a group, on a topic of its own.
const (
	crowdPartitions = 6
	crowdMembers    = 3
	crowdRate       = 150 // records a second and producer
	crowdKeys       = 97  // without keys, producers stay with a partition for many bytes
)

// crowd is applications that work until they are told to stop, each with the settings that its library has by default.
type crowd struct {
	histories []*history
	producers []func() // stop one and wait until everything it has sent is decided
	consumers []func()
}

// newCrowd makes the topics and starts a producer and a group of each library, and waits until all have begun.
func newCrowd(t *testing.T, addr string, libraries ...string) *crowd {
	t.Helper()
	c := &crowd{}
	admin, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(addr, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, library := range libraries {
		h := newHistory(library)
		created, err := kadm.NewClient(admin).CreateTopic(t.Context(), crowdPartitions, 3, nil, h.topic)
		if err == nil {
			err = created.Err
		}
		if err != nil {
			t.Fatalf("create %s: %v", h.topic, err)
		}
		c.histories = append(c.histories, h)
		switch library {
		case "java":
			c.java(t, addr, h)
		case "librdkafka":
			c.librdkafka(t, addr, h)
		case "kgo":
			c.kgo(t, addr, h)
		}
	}
	c.await(t, "every group is complete", func(h *history) bool { return h.shared(crowdMembers, crowdPartitions) })
	c.flows(t, 100)
	return c
}

// await waits until a condition holds for every library, or an application was told of an error.
func (c *crowd) await(t *testing.T, what string, holds func(*history) bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for _, h := range c.histories {
		for !holds(h) {
			if failures := h.failed(); len(failures) > 0 {
				t.Fatalf("before %s: %s: %s", what, h.topic, failures[0])
			}
			select {
			case <-tick.C:
			case <-deadline:
				acked, read := h.counts()
				t.Fatalf("%s: not within %v: %s; %d records are acknowledged, %d read", h.topic, patience, what, acked, read)
			}
		}
	}
}

// flows waits until every library has produced and read that many records more.
func (c *crowd) flows(t *testing.T, more int) {
	t.Helper()
	type mark struct{ acked, read int }
	marks := map[*history]mark{}
	for _, h := range c.histories {
		acked, read := h.counts()
		marks[h] = mark{acked, read}
	}
	c.await(t, "records flow", func(h *history) bool {
		acked, read := h.counts()
		return acked >= marks[h].acked+more && read >= marks[h].read+more
	})
}

// undisturbed fails the test if a group reads a record again while work runs, or moves a partition. If members of a library that is
// excused forgot their topics meanwhile, theirs may.
func (c *crowd) undisturbed(t *testing.T, work func(), excused ...string) {
	t.Helper()
	moves, forgot := map[*history]int{}, map[*history]int{}
	for _, h := range c.histories {
		forgot[h] = h.rebootstraps()
		h.mu.Lock()
		moves[h] = len(h.moves)
		h.mu.Unlock()
	}
	work()
	for _, h := range c.histories {
		if n := h.rebootstraps() - forgot[h]; n > 0 && slices.Contains(excused, h.topic) {
			t.Logf("%s: members forgot their topics %d times", h.group, n)
		} else {
			h.still(t, moves[h])
		}
		h.once(t)
	}
}

// stop ends the producers, waits until the groups have read everything, ends those, and checks the log.
func (c *crowd) stop(t *testing.T, addr string) {
	t.Helper()
	for _, stop := range c.producers {
		stop()
	}
	c.await(t, "the group has read everything", (*history).caughtUp)
	for _, stop := range c.consumers {
		stop()
	}
	for _, h := range c.histories {
		h.check(t, addr)
	}
}

// pauses says for each library how long partitions were silent between from and to.
func (c *crowd) pauses(from, to time.Time) string {
	var all []string
	for _, h := range c.histories {
		for _, s := range []struct {
			name  string
			times map[int32][]time.Time
		}{{"producer", h.acks}, {"group", h.reads}} {
			longest, settled := h.pauses(s.times, from, to)
			all = append(all, fmt.Sprintf("%s %s %s (%s)", h.topic, s.name, seconds(longest), seconds(settled)))
		}
	}
	return strings.Join(all, ", ")
}

// java starts a verifiable producer, with what it changes of the defaults set back, and verifiable consumers.
func (c *crowd) java(t *testing.T, addr string, h *history) {
	defaults := filepath.Join(t.TempDir(), "producer.properties")
	if err := os.WriteFile(defaults, []byte("retries=2147483647\nenable.idempotence=true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.producers = append(c.producers, tool(t, h, "producer", javatools.VerifiableProducer, "--bootstrap-server", addr,
		"--topic", h.topic, "--throughput", strconv.Itoa(crowdRate), "--command-config", defaults,
		"--repeating-keys", strconv.Itoa(crowdKeys)))
	for i := range crowdMembers {
		c.consumers = append(c.consumers, tool(t, h, fmt.Sprint("consumer ", i), javatools.VerifiableConsumer, "--bootstrap-server", addr,
			"--topic", h.topic, "--group-id", h.group, "--verbose"))
	}
}

// tool runs one of Apache Kafka's verifiable tools until stop.
func tool(t *testing.T, h *history, member string, tool javatools.Tool, args ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := kit(t).Command(ctx, 128, tool, args...)
	// A consumer says why its group rebalances, and every client when it forgets what it knows.
	const loud = "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients."
	cmd.Env = append(os.Environ(), "JAVA_TOOL_OPTIONS="+loud+"consumer.internals=info "+loud+"Metadata=info")
	return follow(t, h, member, cmd, cancel)
}

// librdkafka starts crowd.py, in which confluent-kafka produces and consumes.
func (c *crowd) librdkafka(t *testing.T, addr string, h *history) {
	python := filepath.Join(moduleRoot(t), ".tools", "venv", "bin", "python")
	for role, n := range map[string]int{"produce": crowdRate, "consume": crowdMembers} {
		cmd := exec.Command(python, "crowd.py", role, addr, h.topic, h.group, strconv.Itoa(n))
		proc.DieWithParent(cmd)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stop := follow(t, h, role, cmd, func() { _ = stdin.Close() }) // it may have ended by itself
		if role == "produce" {
			c.producers = append(c.producers, stop)
		} else {
			c.consumers = append(c.consumers, stop)
		}
	}
}

// follow starts a program that tells one event a line. tell asks it to end; stop does so and waits for its end.
func follow(t *testing.T, h *history, member string, cmd *exec.Cmd, tell func()) (stop func()) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs := &tail{phrase: rebootstrapping}
	h.logs[member] = errs
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{})
	ended := make(chan struct{})
	go func() { // ends with the program, which stop ends
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			e := event{}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e = event{Name: "error", Message: fmt.Sprintf("%q: %v", lines.Text(), err)}
			}
			h.note(member+e.Member, e)
		}
		_, _ = io.Copy(io.Discard, out)
		err := cmd.Wait()
		select {
		case <-told:
		default:
			h.note(member, event{Name: "error", Message: fmt.Sprintf("it ended by itself: %v", err)})
		}
	}()
	stop = sync.OnceFunc(func() {
		close(told)
		tell()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Errorf("%s: %s did not end", h.topic, member)
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s: %s said:\n%s", h.topic, member, errs)
		}
	})
	return stop
}

// kgo runs clients of franz-go in this process.
func (c *crowd) kgo(t *testing.T, addr string, h *history) {
	seeds := kgo.SeedBrokers(strings.Split(addr, ",")...)
	producer, err := kgo.NewClient(seeds, kgo.DefaultProduceTopic(h.topic))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var producing sync.WaitGroup
	producing.Go(func() {
		tick := time.NewTicker(time.Second / crowdRate)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			producer.Produce(context.Background(), kgo.KeyStringRecord(strconv.Itoa(i%crowdKeys), strconv.Itoa(i)), func(r *kgo.Record, err error) {
				if err != nil {
					h.note("producer", event{Name: "producer_send_error", Value: string(r.Value), Message: err.Error()})
					return
				}
				h.note("producer", event{Name: "producer_send_success", Value: string(r.Value), Partition: r.Partition, Offset: r.Offset})
			})
			<-tick.C
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		producing.Wait()
		flush, done := context.WithTimeout(context.Background(), patience)
		defer done()
		if err := producer.Flush(flush); err != nil {
			h.note("producer", event{Name: "error", Message: err.Error()})
		}
		producer.Close()
	})
	t.Cleanup(stop)
	c.producers = append(c.producers, stop)
	for i := range crowdMembers {
		stop := kgoMember(t, seeds, h, fmt.Sprint("consumer ", i))
		t.Cleanup(stop)
		c.consumers = append(c.consumers, stop)
	}
}

// kgoMember consumes in the group until stop.
func kgoMember(t *testing.T, seeds kgo.Opt, h *history, member string) (stop func()) {
	t.Helper()
	changed := func(name string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			h.note(member, event{Name: name, Partitions: make([]any, len(partitions[h.topic]))})
		}
	}
	// As by default, offsets are committed now and then and before partitions go to another member.
	var cl *kgo.Client
	cl, err := kgo.NewClient(seeds, kgo.ConsumerGroup(h.group), kgo.ConsumeTopics(h.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.OnPartitionsAssigned(changed("partitions_assigned")),
		kgo.OnPartitionsRevoked(changed("partitions_revoked")), kgo.OnPartitionsLost(changed("partitions_revoked")))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var polling sync.WaitGroup
	polling.Go(func() {
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			fetches.EachError(func(_ string, _ int32, err error) {
				if !errors.Is(err, context.Canceled) {
					h.note(member, event{Name: "error", Message: err.Error()})
				}
			})
			fetches.EachRecord(func(r *kgo.Record) {
				h.note(member, event{Name: "record_data", Partition: r.Partition, Offset: r.Offset})
			})
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		polling.Wait()
		cl.Close()
	})
}
