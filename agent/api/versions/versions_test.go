package versions_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
)

type recordedKey struct {
	Key  int16
	Name string
	Min  int16
	Max  int16
}

// recorded is what the real broker announced.
func recorded(t *testing.T) map[int16]recordedKey {
	t.Helper()
	data, err := os.ReadFile("kafka-4.3.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Keys []recordedKey }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	keys := map[int16]recordedKey{}
	for _, k := range file.Keys {
		keys[k.Key] = k
	}
	if len(keys) < 70 {
		t.Fatalf("only %d keys recorded", len(keys))
	}
	return keys
}

func TestAnnouncedIsWhatKafkaAnnounces(t *testing.T) {
	keys := recorded(t)
	for _, a := range versions.Announced() {
		got := recordedKey{a.Key, a.Name, a.Min, a.Max}
		if want := keys[a.Key]; got != want {
			t.Errorf("announced %+v, Kafka announced %+v", got, want)
		}
	}
}

func TestEveryAnnouncedVersionCanBeEncoded(t *testing.T) {
	for _, a := range versions.Announced() {
		req := kmsg.RequestForKey(a.Key)
		if req == nil || req.MaxVersion() < a.Max {
			t.Errorf("kmsg cannot speak %s up to version %d", a.Name, a.Max)
		}
	}
}

func TestOnlyProduceServesLessThanItAnnounces(t *testing.T) {
	for _, a := range versions.Announced() {
		lowest, highest, ok := versions.Range(a.Key)
		want := a.Min
		if a.Key == int16(kmsg.Produce) {
			want = 3
		}
		if !ok || lowest != want || highest != a.Max {
			t.Errorf("%s serves %d to %d (%v), want %d to %d", a.Name, lowest, highest, ok, want, a.Max)
		}
	}
}

func TestUnknownKeysAreNotServed(t *testing.T) {
	for _, key := range []int16{-1, 4, 24, 94, 999} {
		if lowest, highest, ok := versions.Range(key); ok {
			t.Errorf("key %d is served from %d to %d", key, lowest, highest)
		}
	}
}

func TestAnnouncedIsOrderedAndOwnedByTheCaller(t *testing.T) {
	first := versions.Announced()
	if !slices.IsSortedFunc(first, func(a, b versions.API) int { return int(a.Key) - int(b.Key) }) {
		t.Error("not ordered by key")
	}
	first[0].Max = 99
	if versions.Announced()[0].Max == 99 {
		t.Error("a caller can change the table")
	}
}

// ledgerRow is a row of PROTOCOL.md that begins with a key: | 0 | Produce | 0–13 | 3–13 | …
var ledgerRow = regexp.MustCompile(`(?m)^\| (\d+) \| (\w+) \| (\d+)–(\d+) \| (\d+)–(\d+) \|`)

func TestProtocolLedgerSaysWhatIsAnnounced(t *testing.T) {
	data, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	served, rest, found := strings.Cut(string(data), "## Not announced")
	if !found {
		t.Fatal("PROTOCOL.md has no section \"Not announced\"")
	}
	var got []string
	for _, m := range ledgerRow.FindAllStringSubmatch(served, -1) {
		got = append(got, strings.Join(m[1:], " "))
	}
	var want []string
	ours := map[int16]bool{}
	for _, a := range versions.Announced() {
		ours[a.Key] = true
		want = append(want, fmt.Sprint(a.Key, " ", a.Name, " ", a.Min, " ", a.Max, " ", a.Served, " ", a.Max))
	}
	if !slices.Equal(got, want) {
		t.Errorf("PROTOCOL.md has\n%s\nthe table has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(\w+) \((\d+)\)`).FindAllStringSubmatch(rest, -1) {
		listed[m[1]+" "+m[2]] = true
	}
	for _, k := range recorded(t) {
		name := k.Name + " " + strconv.Itoa(int(k.Key))
		if listed[name] == ours[k.Key] {
			t.Errorf("%s: announced %v, listed as not announced %v", name, ours[k.Key], listed[name])
		}
	}
}
