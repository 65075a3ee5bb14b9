//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/leat-stream/leat/cmd/interop/javatools"
)

// topics creates, describes, alters and deletes through the admin tools.
func (s session) topics(t *testing.T) {
	s.java(t, "", javatools.Topics, "--create", "--topic", "admin", "--partitions", "3", "--config", "retention.ms=86400000")
	contains(t, s.java(t, "", javatools.Topics, "--describe", "--topic", "admin"),
		"PartitionCount: 3", "retention.ms=86400000", "Partition: 2")
	if _, err := s.tryJava(t, "", javatools.Topics, "--create", "--topic", "admin"); err == nil {
		t.Error("a topic could be created twice")
	} else {
		contains(t, err.Error(), "Topic 'admin' already exists")
	}
	s.java(t, "", javatools.Topics, "--alter", "--topic", "admin", "--partitions", "5")
	contains(t, s.java(t, "", javatools.Topics, "--describe", "--topic", "admin"), "PartitionCount: 5")

	entity := []string{"--entity-type", "topics", "--entity-name", "admin"}
	s.java(t, "", javatools.Configs, append(entity, "--alter", "--add-config", "max.message.bytes=2000000,cleanup.policy=[compact,delete]")...)
	out := s.java(t, "", javatools.Configs, append(entity, "--describe")...)
	contains(t, out, "max.message.bytes=2000000", "cleanup.policy=compact,delete", "retention.ms=86400000")
	s.java(t, "", javatools.Configs, append(entity, "--alter", "--delete-config", "max.message.bytes")...)
	out = s.java(t, "", javatools.Configs, append(entity, "--describe", "--all")...)
	contains(t, out, "max.message.bytes=1048588", "compression.type=producer")
	if _, err := s.tryJava(t, "", javatools.Configs, append(entity, "--alter", "--add-config", "retention.ms=soon")...); err == nil {
		t.Error("a bad value was accepted")
	} else {
		contains(t, err.Error(), "Invalid value soon for configuration retention.ms: Not a number of type LONG")
	}
	s.java(t, "", javatools.Topics, "--delete", "--topic", "admin")
	for _, name := range lines(s.java(t, "", javatools.Topics, "--list")) {
		if name == "admin" {
			t.Error("the topic is listed after it was deleted")
		}
	}
	contains(t, s.java(t, "", javatools.APIVersions), "Produce(0): 0 to 13")
}

// console writes with each codec, reads half of it in a group, and the rest when it comes back.
func (s session) console(t *testing.T) {
	const topic, group = "console", "console-group"
	s.java(t, "", javatools.Topics, "--create", "--topic", topic, "--partitions", "3")
	var want []string
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		batch := numbered(codec, 100)
		s.java(t, strings.Join(batch, "\n")+"\n", javatools.ConsoleProducer, "--topic", topic, "--compression-codec", codec,
			"--reader-property", "parse.key=true")
		want = append(want, batch...)
	}
	read := func(n int) []string {
		return lines(s.java(t, "", javatools.ConsoleConsumer, "--topic", topic, "--group", group, "--from-beginning",
			"--max-messages", strconv.Itoa(n), "--timeout-ms", "60000", "--formatter-property", "print.key=true"))
	}
	first := read(200)
	if len(first) != 200 {
		t.Errorf("the first run read %d records", len(first))
	}
	sameLines(t, append(first, read(300)...), want)

	total := 0
	for _, line := range lines(s.java(t, "", javatools.GetOffsets, "--topic", topic, "--time", "latest")) {
		n, err := strconv.Atoi(line[strings.LastIndex(line, ":")+1:])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		total += n
	}
	if total != len(want) {
		t.Errorf("the partitions end at %d in sum, want %d", total, len(want))
	}
	for _, time := range []string{"earliest", "max-timestamp", "earliest-local", "latest-tiered", "0"} {
		s.java(t, "", javatools.GetOffsets, "--topic", topic, "--time", time)
	}
	s.groupTools(t, topic, group)
}

// groupTools looks at a group that has read everything and is empty, moves it back, and deletes it.
func (s session) groupTools(t *testing.T, topic, group string) {
	described := s.java(t, "", javatools.ConsumerGroups, "--describe", "--group", group)
	partitions := regexp.MustCompile(`(?m)^`+group+`\s+`+topic+`\s+\d+\s+(\d+)\s+(\d+)\s+(\d+)`).FindAllStringSubmatch(described, -1)
	if len(partitions) != 3 {
		t.Errorf("%d partitions are described in\n%s", len(partitions), described)
	}
	for _, p := range partitions {
		if p[1] != p[2] || p[3] != "0" {
			t.Errorf("committed %s of %s, lag %s", p[1], p[2], p[3])
		}
	}
	contains(t, s.java(t, "", javatools.ConsumerGroups, "--list", "--state"), group)
	contains(t, s.java(t, "", javatools.ConsumerGroups, "--describe", "--group", group, "--state"), "Empty")
	contains(t, s.java(t, "", javatools.ConsumerGroups, "--group", group, "--topic", topic, "--reset-offsets", "--to-earliest",
		"--execute"), group)
	again := s.java(t, "", javatools.ConsoleConsumer, "--topic", topic, "--group", group, "--max-messages", "500",
		"--timeout-ms", "60000")
	if n := len(lines(again)); n != 500 {
		t.Errorf("after the reset %d records were read", n)
	}
	contains(t, s.java(t, "", javatools.ConsumerGroups, "--delete", "--group", group), "was successful")
}

func (s session) perf(t *testing.T) {
	const topic, records = "perf", 20_000
	s.java(t, "", javatools.Topics, "--create", "--topic", topic, "--partitions", "4")
	out := s.java(t, "", javatools.ProducerPerf, "--topic", topic, "--num-records", strconv.Itoa(records), "--record-size", "1024",
		"--throughput", "-1", "--command-property", "acks=all", "compression.type=lz4")
	t.Log(lastLine(out))
	contains(t, out, fmt.Sprintf("%d records sent", records))
	out = s.java(t, "", javatools.ConsumerPerf, "--topic", topic, "--num-records", strconv.Itoa(records), "--timeout", "60000",
		"--hide-header")
	t.Log(lastLine(out))
	// start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, …
	fields := strings.Split(lastLine(out), ", ")
	if len(fields) < 5 || fields[4] != strconv.Itoa(records) {
		t.Errorf("consumed: %q", lastLine(out))
	}
}

func lastLine(out string) string {
	all := lines(out)
	return at(all, len(all)-1)
}

// verifiable has every record acknowledged by name, and read once by a group.
func (s session) verifiable(t *testing.T) {
	const topic, records = "verifiable", 2000
	s.java(t, "", javatools.Topics, "--create", "--topic", topic, "--partitions", "2")
	out := s.java(t, "", javatools.VerifiableProducer, "--topic", topic, "--max-messages", strconv.Itoa(records), "--acks", "-1")
	type event struct {
		Name      string
		Value     string
		Partition int
		Offset    int64
		Success   bool
		Error     string
	}
	acked := map[string]bool{}
	for _, e := range events[event](t, out) {
		switch e.Name {
		case "producer_send_success":
			acked[fmt.Sprintf("%d/%d %s", e.Partition, e.Offset, e.Value)] = true
		case "producer_send_error":
			t.Errorf("not acknowledged: %+v", e)
		}
	}
	if len(acked) != records {
		t.Fatalf("%d records were acknowledged at different places", len(acked))
	}
	out = s.java(t, "", javatools.VerifiableConsumer, "--topic", topic, "--group-id", "verifiable-group", "--reset-policy", "earliest",
		"--max-messages", strconv.Itoa(records), "--verbose")
	for _, e := range events[event](t, out) {
		switch e.Name {
		case "record_data":
			place := fmt.Sprintf("%d/%d %s", e.Partition, e.Offset, e.Value)
			if !acked[place] {
				t.Errorf("read twice, or never acknowledged: %s", place)
			}
			delete(acked, place)
		case "offsets_committed":
			if !e.Success {
				t.Errorf("commit failed: %s", e.Error)
			}
		}
	}
	if len(acked) > 0 {
		t.Errorf("%d acknowledged records were not read", len(acked))
	}
}

// events decodes one JSON object per line.
func events[T any](t *testing.T, out string) []T {
	t.Helper()
	var list []T
	for _, line := range lines(out) {
		var e T
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, e)
	}
	return list
}
