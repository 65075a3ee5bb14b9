package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

func TestAnAgentThatCannotLiveWaitsLongerEachTime(t *testing.T) {
	var waits []time.Duration
	for short := range 9 {
		waits = append(waits, pauseAfter(short))
	}
	if waits[0] != 0 || waits[1] != 0 {
		t.Errorf("who slept begins anew at once: %v", waits)
	}
	for i := 2; i < len(waits); i++ {
		if waits[i] < time.Second || waits[i] < waits[i-1] || waits[i] > time.Minute {
			t.Errorf("%v", waits)
		}
	}
}

// onFolder is an agent's configuration over a folder, at free ports, which several agents share.
func onFolder(root string) Config {
	cfg := Default()
	cfg.Store, cfg.Journal, cfg.HTTP = "file://"+root, "bucket:", "127.0.0.1:0"
	cfg.Wire.Listeners = []wire.Listener{{Name: "default", Address: "127.0.0.1:0"}}
	cfg.Cache.MemoryBytes = 48 << 20
	cfg.Tune()
	return cfg
}

// TestAnAgentTakenForDeadBeginsAnewWhereItWas closes an agent's session twice, as the leader does with that of an agent which slept.
func TestAnAgentTakenForDeadBeginsAnewWhereItWas(t *testing.T) {
	t.Parallel()
	root, log := t.TempDir(), slog.New(slog.DiscardHandler)
	judge, err := Open(t.Context(), onFolder(root), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- judge.Run(ctx) }() // both end with stop
	cfg := onFolder(root)
	addr := freeAddress(t)
	cfg.HTTP = addr + "?proxy=v2"
	go func() { ended <- Live(ctx, cfg, log) }()
	defer func() {
		stop()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	var address string
	for life := 1; life <= 3; life++ {
		var other state.Session
		await(t, "the agent lives", func() bool {
			other = sessionBeside(t, judge)
			return !other.ID.IsZero() && page(addr, "/readyz") == "serving\n"
		})
		if address == "" {
			address = other.Address
		}
		if other.Address != address {
			t.Errorf("life %d is at %s, the first was at %s", life, other.Address, address)
		}
		await(t, "it is counted, and sees both agents", func() bool {
			metrics := page(addr, "/metrics")
			return strings.Contains(metrics, fmt.Sprintf("leat_agent_lives %d\n", life)) && strings.Contains(metrics, "leat_agents_alive 2\n")
		})
		if r := request(t, addr, ownHeader+"GET /readyz HTTP/1.1\r\nHost: agent\r\n\r\n"); r.StatusCode != 200 {
			t.Errorf("life %d: a health check with a PROXY header is answered %s", life, r.Status)
		}
		if _, err := judge.replica.Do(t.Context(), state.Command{Op: state.CloseSession{Session: other.ID}}); err != nil {
			t.Fatal(err)
		}
	}
}

// sessionBeside is the open session of the other agent, if there is one.
func sessionBeside(t *testing.T, a *Agent) (other state.Session) {
	t.Helper()
	if err := a.replica.Ask(t.Context(), metadata.Local(), func(r state.Reader) {
		for s := range r.Sessions() {
			if !s.Closed && s.ID != a.session.ID() {
				other = s
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return other
}

// page is a page of an agent's HTTP address, "" if there is none.
func page(address, path string) string {
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// await polls until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("%s: not in time", what)
		case <-tick.C:
		}
	}
}
