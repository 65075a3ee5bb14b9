//go:build interop

package interop

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leat-stream/leat/cmd/interop/javatools"
)

// TestInterop runs every scenario against every target. Scenarios use topics and groups of their own, so that as many run at once as there
// are processors: each member that is the first of its group is kept waiting for others for three seconds.
func TestInterop(t *testing.T) {
	for name, target := range targets(t) {
		t.Run(name, func(t *testing.T) {
			s := session{addr: target.start(t)}
			for _, scenario := range []struct {
				name string
				run  func(session, *testing.T)
			}{
				{"kafka-topics and kafka-configs", session.topics},
				{"console producer and consumer resume in a group", session.console},
				{"producer-perf and consumer-perf", session.perf},
				{"verifiable producer and consumer", session.verifiable},
				{"confluent-kafka", session.confluent},
				{"kcat", session.kcat},
			} {
				t.Run(scenario.name, func(t *testing.T) {
					t.Parallel()
					scenario.run(s, t)
				})
			}
		})
	}
}

// session is a server under test.
type session struct {
	addr string
}

// java runs a tool against the server and returns what it wrote to its standard output.
func (s session) java(t *testing.T, stdin string, tool javatools.Tool, args ...string) string {
	t.Helper()
	out, err := s.tryJava(t, stdin, tool, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func (s session) tryJava(t *testing.T, stdin string, tool javatools.Tool, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args = append([]string{"--bootstrap-server", s.addr}, args...)
	out, err := kit(t).Run(ctx, strings.NewReader(stdin), tool, args...)
	return out.Stdout, err
}

// command runs another program and returns its standard output.
func (s session) command(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}

// contains fails the test unless out has all of the parts.
func contains(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("%q is missing in\n%s", part, out)
		}
	}
}

// numbered returns n lines, each with a key and a value that tell its number.
func numbered(prefix string, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("key-%05d\t%s-value-%05d", i, prefix, i)
	}
	return lines
}

// sameLines fails the test unless got has each line of want exactly once, in any order.
func sameLines(t *testing.T, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%d lines, want %d; the first that differs: %q, want %q", len(got), len(want), at(got, i), at(want, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

func lines(out string) []string {
	out = strings.TrimRight(out, "\n")
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// confluent runs the scenario in clients.py, which fails with a message of its own.
func (s session) confluent(t *testing.T) {
	python := filepath.Join(moduleRoot(t), ".tools", "venv", "bin", "python")
	out := s.command(t, "", python, "clients.py", s.addr)
	t.Log(strings.TrimSpace(out))
	contains(t, out, "all 5 codecs, 2 groups: good")
}

func (s session) kcat(t *testing.T) {
	const topic = "kcat"
	s.java(t, "", javatools.Topics, "--create", "--topic", topic, "--partitions", "2")
	contains(t, s.command(t, "", "kcat", "-b", s.addr, "-L", "-t", topic), `topic "kcat" with 2 partitions`)
	var want []string
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		batch := numbered(codec, 200)
		s.command(t, strings.Join(batch, "\n"), "kcat", "-b", s.addr, "-P", "-t", topic, "-K", "\t", "-z", codec,
			"-X", "enable.idempotence=true")
		want = append(want, batch...)
	}
	consume := []string{"-b", s.addr, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-K", "\t"}
	sameLines(t, lines(s.command(t, "", "kcat", consume...)), want)

	// In a group: the first run leaves after 400 records, the second goes on where it stopped.
	group := []string{"-b", s.addr, "-q", "-K", "\t", "-X", "auto.offset.reset=earliest", "-X", "enable.auto.offset.store=true",
		"-G", "kcat-group"}
	first := lines(s.command(t, "", "kcat", append([]string{"-c", "400"}, append(group, topic)...)...))
	second := lines(s.command(t, "", "kcat", append([]string{"-c", "600"}, append(group, topic)...)...))
	if len(first) != 400 {
		t.Errorf("the first run read %d records", len(first))
	}
	sameLines(t, append(first, second...), want)

	// By timestamp: nothing is later than the end of time, everything later than its beginning.
	for _, q := range []struct {
		at   string
		want string
	}{{"0", topic + " [0] offset 0"}, {"9999999999999", topic + " [0] offset -1"}} {
		contains(t, s.command(t, "", "kcat", "-b", s.addr, "-Q", "-t", topic+":0:"+q.at), q.want)
	}
}
