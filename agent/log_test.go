package agent_test

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/leat-stream/leat/agent"
)

// TestEveryLineOfTheLogNamesAgentAndSession, and says nothing twice: readers of JSON keep one of two values of a name.
func TestEveryLineOfTheLogNamesAgentAndSession(t *testing.T) {
	store := "file://" + t.TempDir() + "/bucket"
	var agents []*running
	for _, name := range []string{"one", "two", "three"} {
		cfg := config(store, "bucket:")
		cfg.Name = name
		text := &logs{}
		a, err := agent.Open(t.Context(), cfg, slog.New(slog.NewJSONHandler(text, &slog.HandlerOptions{Level: slog.LevelDebug})))
		if err != nil {
			t.Fatal(err)
		}
		agents = append(agents, runs(t, a, text))
	}
	agents[0].topic("t", 1)
	for _, r := range agents {
		if r.metric("leat_metadata_leading") == 1 {
			r.stop()
		}
	}
	eventually(t, "an agent says who leads now", func() bool {
		return slices.ContainsFunc(agents, func(r *running) bool { return strings.Contains(r.logs.String(), `"msg":"metadata leader"`) })
	})
	for i, name := range []string{"one", "two", "three"} {
		agents[i].stop()
		namesItself(t, name, agents[i].logs)
	}
}

// namesItself reads the log of one life of the agent.
func namesItself(t *testing.T, name string, text *logs) {
	t.Helper()
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
			key, err := d.Token()
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			var value any
			if err := d.Decode(&value); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if _, twice := values[key.(string)]; twice {
				t.Errorf("%q is there twice: %s", key, line)
			}
			values[key.(string)] = value
		}
		if values["agent"] != name || values["session"] == nil {
			t.Errorf("whose line is this: %s", line)
		}
		sessions[values["session"]] = true
	}
	if len(sessions) != 1 {
		t.Errorf("one life has the sessions %v", sessions)
	}
}
