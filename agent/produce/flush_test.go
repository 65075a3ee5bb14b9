package produce

import (
	"testing"
	"time"
)

func TestPolicySealsOnSizeAgeOrWhenNothingIsInFlight(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	const full, ms = int64(8 << 20), time.Millisecond
	tests := map[string]struct {
		bytes   int64
		age     time.Duration
		uploads int
		closed  bool
		tokens  float64 // at the time of filled
		filled  time.Duration
		seal    bool
		wait    time.Duration
		left    float64 // tokens afterwards
	}{
		"nothing waits":                      {bytes: 0, tokens: 1, left: 1},
		"nothing waits, closed":              {bytes: 0, closed: true, tokens: 1, left: 1},
		"idle: at once":                      {bytes: 1, tokens: 2, seal: true, left: 1},
		"full, however busy":                 {bytes: full, uploads: 8, seal: true},
		"old, however busy":                  {bytes: 1, age: 250 * ms, uploads: 8, seal: true},
		"older, without a token":             {bytes: 1, age: 251 * ms, seal: true},
		"draining: at once":                  {bytes: 1, uploads: 8, closed: true, seal: true},
		"busy: gather until old":             {bytes: full - 1, age: 40 * ms, uploads: 1, tokens: 9, wait: 210 * ms, left: 9},
		"idle, no token: until one is there": {bytes: 1, age: 10 * ms, tokens: 0.5, wait: 50 * ms, left: 0.5},
		"idle, no token: until old":          {bytes: 1, age: 240 * ms, tokens: 0.5, wait: 10 * ms, left: 0.5},
		"a token grew in time":               {bytes: 1, tokens: 0.5, filled: -50 * ms, seal: true, left: 0},
		"tokens are bounded by the burst":    {bytes: 1, tokens: 5, filled: -time.Hour, seal: true, left: 49},
		"never asks again at once":           {bytes: 1, tokens: 0.99999, wait: ms, left: 0.99999},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := policy{bytes: full, interval: 250 * ms, rate: 10, burst: 50, tokens: tt.tokens, filled: at.Add(tt.filled)}
			seal, wait := p.decide(at, tt.bytes, at.Add(-tt.age), tt.uploads, tt.closed)
			if seal != tt.seal || wait != tt.wait || p.tokens != tt.left {
				t.Errorf("seal %v, wait %s, %v tokens left; want %v, %s, %v", seal, wait, p.tokens, tt.seal, tt.wait, tt.left)
			}
		})
	}
}

func TestPolicyWithoutBudget(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	free := policy{bytes: 10, interval: time.Second, rate: -1}
	if seal, _ := free.decide(at, 1, at, 0, false); !seal {
		t.Error("without a limit an idle agent must seal at once")
	}
	none := policy{bytes: 10, interval: time.Second, rate: 0}
	if seal, wait := none.decide(at, 1, at, 0, false); seal || wait != time.Second {
		t.Errorf("with no early puts allowed a batch waits for the interval: %v, %s", seal, wait)
	}
}

// TestLightTrafficKeepsWithinItsBudget plays an hour of one batch every 10 ms: no more than the burst, the early puts and
// what the interval forces are sealed.
func TestLightTrafficKeepsWithinItsBudget(t *testing.T) {
	cfg := Default()
	p := newPolicy(cfg)
	now := time.Unix(1_700_000_000, 0)
	var oldest time.Time
	seals := 0
	const hour, step = time.Hour, 10 * time.Millisecond
	for range hour / step {
		now = now.Add(step)
		if oldest.IsZero() {
			oldest = now
		}
		if seal, _ := p.decide(now, 100, oldest, 0, false); seal {
			seals++
			oldest = time.Time{}
		}
	}
	most := cfg.EarlyBurst + int(cfg.EarlyPuts*hour.Seconds()) + int(hour/cfg.FlushInterval)
	if least := int(hour / cfg.FlushInterval); seals > most || seals < least {
		t.Errorf("%d seals, want between %d and %d", seals, least, most)
	}
}

func TestWithoutEarlyPutsOnlySizeAndIntervalSeal(t *testing.T) {
	cfg := Default()
	cfg.EarlyPuts = 0
	p := newPolicy(cfg)
	begin := time.Unix(1_700_000_000, 0)
	if seal, wait := p.decide(begin, 1, begin, 0, false); seal || wait != cfg.FlushInterval {
		t.Errorf("at first: seals %v, asks again after %v", seal, wait)
	}
	if seal, _ := p.decide(begin.Add(cfg.FlushInterval), 1, begin, 0, false); !seal {
		t.Error("not even after the interval")
	}
}
