package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestRecordsAreTheText(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	for name, text := range map[string]string{
		"one short line": "package main\n", "many lines": strings.Repeat(line, 100), "no last newline": strings.Repeat(line, 20) + "end",
		"a line longer than any record may be": strings.Repeat("y", 3*most) + "\nend\n",
	} {
		var joined []byte
		for record, rest := next([]byte(text)); len(record) > 0; record, rest = next(rest) {
			if len(record) > most || len(rest) > 0 && len(record) < piece {
				t.Errorf("%s: a record of %d bytes", name, len(record))
			}
			joined = append(joined, record...)
		}
		if string(joined) != text {
			t.Errorf("%s: the records are %d bytes, the text %d, or they differ", name, len(joined), len(text))
		}
	}
}

func TestReaderNoticesWhatIsWrong(t *testing.T) {
	text := []byte(strings.Repeat("one line and another\n", 200))
	first, rest := next(text)
	second, _ := next(rest)
	altered := bytes.Replace(second, []byte("line"), []byte("lime"), 1)
	record := func(offset int64, key string, value []byte) *kgo.Record {
		return &kgo.Record{Topic: "t", Offset: offset, Key: []byte(key), Value: value}
	}
	for name, wrong := range map[string]*kgo.Record{
		"a repeated record":  record(0, "f", first),
		"a missing record":   record(2, "f", second),
		"an altered byte":    record(1, "f", altered),
		"an empty record":    record(1, "f", nil),
		"an unknown file":    record(1, "g", second),
		"more than was sent": record(1, "f", append(bytes.Clone(rest), '!')),
	} {
		r := newReader("g", "", []file{{"f", text}}, []string{"t"})
		if err := r.check(record(0, "f", first)); err != nil {
			t.Fatal(err)
		}
		if err := r.check(wrong); err == nil {
			t.Errorf("%s was not noticed", name)
		}
		if r.verdict() == nil {
			t.Errorf("%s: half the file is missing, and the verdict is good", name)
		}
	}
	r := newReader("g", "", []file{{"f", text}}, []string{"t"})
	for offset, rest := int64(0), text; len(rest) > 0; offset++ {
		var value []byte
		value, rest = next(rest)
		if err := r.check(record(offset, "f", value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.verdict(); err != nil {
		t.Error(err)
	}
}
