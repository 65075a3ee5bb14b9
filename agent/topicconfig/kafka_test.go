package topicconfig_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/leat-stream/leat/agent/topicconfig"
)

type recordedConfig struct {
	Name, Type, Value string
	ReadOnly          bool
	Sensitive         bool
	Synonyms          []struct{ Name string }
}

func TestEveryConfigOfKafkaIsKnown(t *testing.T) {
	data, err := os.ReadFile("kafka-4.3-topic.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct{ Configs []recordedConfig }
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, c := range recorded.Configs {
		synonym := ""
		if len(c.Synonyms) > 0 {
			synonym = c.Synonyms[0].Name
		}
		if c.ReadOnly || c.Sensitive {
			t.Errorf("%s is read-only or sensitive, which a Def cannot say", c.Name)
		}
		want = append(want, fmt.Sprintf("%s %s %q %s", c.Name, c.Type, c.Value, synonym))
	}
	for _, d := range topicconfig.All() {
		got = append(got, fmt.Sprintf("%s %s %q %s", d.Name, d.Type, d.Default, d.Synonym))
	}
	if !slices.Equal(got, want) {
		t.Errorf("known:\n%s\nrecorded:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEveryConfigIsWellDefined(t *testing.T) {
	for _, d := range topicconfig.All() {
		if c, err := topicconfig.Canonical(d.Name, d.Default); err != nil || c != d.Default {
			t.Errorf("%s: the default %q becomes %q, %v", d.Name, d.Default, c, err)
		}
		if d.Doc == "" || d.Effect != topicconfig.Applied && d.Note == "" {
			t.Errorf("%s does not say what it does", d.Name)
		}
		if found, ok := topicconfig.Lookup(d.Name); !ok || found.Name != d.Name {
			t.Errorf("%s is not found", d.Name)
		}
	}
	if _, ok := topicconfig.Lookup("no.such"); ok {
		t.Error("an unknown config is found")
	}
}

// observed are lines of the transcript: what a real broker made of a value.
var observed = regexp.MustCompile(`(?m)^([a-z.]+)=("(?:[^"\\]|\\.)*") (?:→ (NONE|INVALID_CONFIG\(40\) (".*"))|is described as (".*"))$`)

// unknownHere are configs that Kafka knows and never shows.
var unknownHere = map[string]bool{"internal.segment.bytes": true}

func TestValuesAreAcceptedRefusedAndDescribedAsByKafka(t *testing.T) {
	transcript, err := os.ReadFile("../../cmd/interop/probe/kafka-4.3.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range observed.FindAllStringSubmatch(string(transcript), -1) {
		name, value, verdict := m[1], unquote(t, m[2]), m[3]
		if unknownHere[name] {
			continue
		}
		seen++
		got, err := topicconfig.Canonical(name, value)
		switch {
		case verdict == "NONE":
			if err != nil {
				t.Errorf("%s=%q: refused: %v", name, value, err)
			}
		case verdict != "":
			if want := unquote(t, m[4]); err == nil || err.Error() != want {
				t.Errorf("%s=%q:\n got %v\nwant %s", name, value, err, want)
			}
		default:
			if want := unquote(t, m[5]); err != nil || got != want {
				t.Errorf("%s=%q is described as %q (%v), by Kafka as %q", name, value, got, err, want)
			}
		}
	}
	if seen < 180 {
		t.Errorf("only %d values in the transcript", seen)
	}
}

func unquote(t *testing.T, s string) string {
	t.Helper()
	u, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return u
}
