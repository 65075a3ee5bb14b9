package agent_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/leat-stream/leat/agent"
)

// TestEveryLineOfTheLogNamesAgentAndSession, and says nothing twice: readers of JSON keep one of two values of a name.
func TestEveryLineOfTheLogNamesAgentAndSession(t *testing.T) {
	cfg := config("file://"+t.TempDir()+"/bucket", "bucket:")
	cfg.Name = "one"
	text := &logs{}
	a, err := agent.Open(t.Context(), cfg, slog.New(slog.NewJSONHandler(text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	r := runs(t, a, text)
	r.topic("t", 1)
	r.stop()
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) < 4 {
		t.Errorf("only %d lines", len(lines))
	}
	sessions := map[any]bool{}
	for _, line := range lines {
		values := map[string]any{}
		d := json.NewDecoder(strings.NewReader(line))
		if _, err := d.Token(); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			var value any
			if err := d.Decode(&value); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if _, twice := values[name.(string)]; twice {
				t.Errorf("%q is there twice: %s", name, line)
			}
			values[name.(string)] = value
		}
		if values["agent"] != "one" || values["session"] == nil {
			t.Errorf("whose line is this: %s", line)
		}
		sessions[values["session"]] = true
	}
	if len(sessions) != 1 {
		t.Errorf("one life has the sessions %v", sessions)
	}
}
