package agent_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var rewrite = flag.Bool("rewrite", false, "write the tables of METRICS.md anew")

// page is where people read about the metrics. Each table stands between a line that names the beginnings of its metrics' names, and
// an empty line.
const page = "METRICS.md"

var (
	tableOf  = regexp.MustCompile(`^<!-- table: (.*) -->$`)
	tableRow = "| `%s` | %s | %s | %s |"
)

// metric is what a scrape tells of one name.
type metric struct {
	kind, help string
	labels     map[string]bool
}

// scraped adds what a page of metrics tells, those of Go and of the process left out.
func scraped(text string, to map[string]*metric) {
	of := func(name string) *metric {
		if to[name] == nil {
			to[name] = &metric{labels: map[string]bool{}}
		}
		return to[name]
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ := strings.Cut(rest, " ")
			of(name).help = help
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			of(name).kind = kind
			continue
		}
		series, _, _ := strings.Cut(line, " ")
		name, labels, _ := strings.Cut(series, "{")
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, part); to[base] != nil && to[base].kind == "histogram" {
				name = base
			}
		}
		for _, found := range labelName.FindAllStringSubmatch(labels, -1) {
			if found[1] != "le" {
				of(name).labels[found[1]] = true
			}
		}
	}
	maps.DeleteFunc(to, func(name string, _ *metric) bool { return !strings.HasPrefix(name, "leat_") })
}

var labelName = regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)

// TestThePageOfMetricsIsTrue: METRICS.md has a row for every metric that a running agent exposes, and no other.
func TestThePageOfMetricsIsTrue(t *testing.T) {
	found := map[string]*metric{}
	for _, text := range exposed(t) {
		scraped(text, found)
	}
	before, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	after, placed := tables(string(before), found)
	for name := range found {
		if !placed[name] {
			t.Errorf("%s belongs into no table of %s", name, page)
		}
		if ok, why := conventional(name, found[name]); !ok {
			t.Errorf("%s, a %s: %s", name, found[name].kind, why)
		}
	}
	if after == string(before) {
		return
	}
	if *rewrite {
		if err := os.WriteFile(page, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	was, is := strings.Split(string(before), "\n"), strings.Split(after, "\n")
	for _, line := range was {
		if !slices.Contains(is, line) {
			t.Errorf("not what agents expose: %s", line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Errorf("missing: %s", line)
		}
	}
	t.Errorf("%s is not true; write its tables anew with: go test ./agent -run PageOfMetrics -rewrite", page)
}

// tables answers the page with its tables as they should be, and which metrics they have.
func tables(text string, found map[string]*metric) (string, map[string]bool) {
	placed := map[string]bool{}
	var out []string
	skipping := false
	for _, line := range strings.Split(text, "\n") {
		if skipping = skipping && line != ""; skipping {
			continue
		}
		out = append(out, line)
		m := tableOf.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		skipping = true
		out = append(out, "| metric | type | labels | what it tells |", "|---|---|---|---|")
		for _, name := range slices.Sorted(maps.Keys(found)) {
			if !slices.ContainsFunc(strings.Fields(m[1]), func(begin string) bool { return strings.HasPrefix(name, begin) }) {
				continue
			}
			placed[name] = true
			labels := "`" + strings.Join(slices.Sorted(maps.Keys(found[name].labels)), "`, `") + "`"
			if len(found[name].labels) == 0 {
				labels = ""
			}
			out = append(out, fmt.Sprintf(tableRow, name, found[name].kind, labels, strings.ReplaceAll(found[name].help, "|", `\|`)))
		}
	}
	return strings.Join(out, "\n"), placed
}

// conventional holds a name to Prometheus' conventions: counters end in _total and nothing else does, times are seconds, sizes bytes.
func conventional(name string, m *metric) (bool, string) {
	switch {
	case m.kind == "counter" != strings.HasSuffix(name, "_total"):
		return false, "counters, and nothing else, end in _total"
	case strings.Contains(name, "_ms") || strings.Contains(name, "millis") || strings.Contains(name, "_kb"):
		return false, "want seconds and bytes"
	case m.kind == "histogram" && !strings.HasSuffix(name, "_seconds") && !strings.HasSuffix(name, "_bytes"):
		return false, "a histogram of what?"
	case m.help == "" || !strings.HasSuffix(m.help, "."):
		return false, "its help is no sentence"
	}
	return true, ""
}

// exposed answers the metrics of two agents of one cluster that have done a bit of everything.
func exposed(t *testing.T) []string {
	store := "file://" + t.TempDir() + "/bucket"
	var agents []*running
	for _, name := range []string{"one", "two"} {
		cfg := config(store, "bucket:")
		cfg.Name, cfg.Cache.Dir = name, t.TempDir()
		agents = append(agents, start(t, cfg))
	}
	one, two := agents[0], agents[1]
	one.topic("t", partitions)
	records := corpus("t", 30)
	produceAll(t, one.client(kgo.RecordPartitioner(kgo.ManualPartitioner())), records)
	group := two.client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for n := 0; n < len(records); {
		polled := group.PollFetches(t.Context())
		if err := polled.Err(); err != nil {
			t.Fatal(err)
		}
		n += polled.NumRecords()
	}
	if err := group.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(one.client()).DeleteGroup(t.Context(), "nobody"); err == nil {
		t.Fatal("a group that does not exist was deleted")
	}
	var pages []string
	eventually(t, "one agent tells the group's lag", func() bool {
		pages = []string{one.get("/metrics"), two.get("/metrics")}
		return strings.Count(pages[0]+pages[1], `leat_group_lag_records{group="readers"} 0`) == 1 &&
			strings.Count(pages[0]+pages[1], `leat_group_lag_records{`) == 1 && one.metric("leat_peer_calls_total")+two.metric("leat_peer_calls_total") > 0
	})
	return pages
}
