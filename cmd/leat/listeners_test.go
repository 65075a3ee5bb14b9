package main

import (
	"slices"
	"testing"
	"time"

	"github.com/leat-stream/leat/agent/wire"
)

func TestListenersArePutTogether(t *testing.T) {
	const shared, own = "lb.example.org:9092", "10.0.0.1:9093"
	for name, c := range map[string]struct {
		listen, advertise []string
		age               time.Duration
		want              []wire.Listener
		wantAge           time.Duration
	}{
		"one": {[]string{"127.0.0.1:9092"}, nil, autoAge,
			[]wire.Listener{{Name: "default", Address: "127.0.0.1:9092"}}, 0},
		"shared": {[]string{"0.0.0.0:9092?proxy=v2"}, []string{"shared=" + shared}, autoAge,
			[]wire.Listener{{Name: "default", Address: "0.0.0.0:9092", Advertised: shared, Shared: true, Proxy: true}}, wire.SharedMaxAge},
		"shared, and one of its own": {[]string{"lb=:9092?proxy=v2&zone=eu-1a", "in=:9093?zone=b"}, []string{"in=" + own, "shared=" + shared}, autoAge,
			[]wire.Listener{
				{Name: "lb", Address: ":9092", Advertised: shared, Zone: "eu-1a", Shared: true, Proxy: true},
				{Name: "in", Address: ":9093", Advertised: own, Zone: "b"},
			}, wire.SharedMaxAge},
		"shared without end": {[]string{":9092"}, []string{"shared=" + shared}, 0,
			[]wire.Listener{{Name: "default", Address: ":9092", Advertised: shared, Shared: true}}, 0},
		"an age of its own": {[]string{":9092"}, []string{own}, time.Minute,
			[]wire.Listener{{Name: "default", Address: ":9092", Advertised: own}}, time.Minute},
	} {
		o := defaults()
		o.listen, o.advertise, o.agent.Wire.MaxAge = c.listen, c.advertise, c.age
		if err := o.finish(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := o.agent.Wire.Listeners; !slices.Equal(got, c.want) || o.agent.Wire.MaxAge != c.wantAge {
			t.Errorf("%s: %+v, age %v", name, got, o.agent.Wire.MaxAge)
		}
		if err := o.agent.Wire.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
