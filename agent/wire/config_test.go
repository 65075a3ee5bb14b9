package wire

import (
	"strings"
	"testing"
	"time"
)

func TestZoneFallsBackToListenerThenAgent(t *testing.T) {
	c := Config{Zone: "agent"}
	for want, got := range map[string]string{
		"client":   c.zone("zone=client", Listener{Zone: "listener"}),
		"listener": c.zone("app", Listener{Zone: "listener"}),
		"agent":    c.zone("app", Listener{}),
	} {
		if got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(*Config){
		"no listener":        func(c *Config) { c.Listeners = nil },
		"unique":             func(c *Config) { c.Listeners = append(c.Listeners, c.Listeners[0]) },
		"names must":         func(c *Config) { c.Listeners[0].Name = "" },
		"address \"x\"":      func(c *Config) { c.Listeners[0].Address = "x" },
		"advertised":         func(c *Config) { c.Listeners[0].Advertised = "0.0.0.0:9092" },
		"port \"0\"":         func(c *Config) { c.Listeners[0].Advertised = "host:0" },
		"max frame":          func(c *Config) { c.MaxFrame = 10 },
		"less than one":      func(c *Config) { c.Memory = 1 << 20 },
		"max connections 0":  func(c *Config) { c.MaxConnections = 0 },
		"per address":        func(c *Config) { c.MaxConnectionsPerIP = -1 },
		"in flight":          func(c *Config) { c.MaxInFlight = 0 },
		"timeouts":           func(c *Config) { c.Idle = 0 },
		"drain time":         func(c *Config) { c.Drain = -time.Second },
		"host \"\" is no":    func(c *Config) { c.Listeners[0].Advertised = ":9092" },
		"missing port in ad": func(c *Config) { c.Listeners[0].Advertised = "host" },
	} {
		cfg := Default()
		edit(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
