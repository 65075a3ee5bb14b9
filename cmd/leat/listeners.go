package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/leat-stream/leat/agent"
	"github.com/leat-stream/leat/agent/wire"
)

// sharedName stands in --advertise, where a listener's name may stand, for the one address of all agents.
const sharedName = "shared"

// listeners puts --listen, --advertise and --max-connection-age together.
func (o *options) listeners() error {
	advertised, err := o.advertised()
	if err != nil {
		return err
	}
	shared := advertised[sharedName]
	delete(advertised, sharedName)
	anyShared := false
	o.agent.Wire.Listeners = nil
	for _, text := range o.listen {
		l, err := parseListener(text)
		if err != nil {
			return err
		}
		l.Advertised = advertised[l.Name]
		delete(advertised, l.Name)
		if l.Advertised == "" && shared != "" {
			l.Advertised, l.Shared, anyShared = shared, true, true
		}
		o.agent.Wire.Listeners = append(o.agent.Wire.Listeners, l)
	}
	for name := range advertised {
		return fmt.Errorf("advertise: no listener is called %q", name)
	}
	if shared != "" && !anyShared {
		return fmt.Errorf("advertise %s=%s: every listener has an address of its own", sharedName, shared)
	}
	if o.agent.Wire.MaxAge == autoAge {
		o.agent.Wire.MaxAge = 0
		if anyShared {
			o.agent.Wire.MaxAge = wire.SharedMaxAge
		}
	}
	return nil
}

// advertised reads --advertise: addresses by the listener's name, the shared one by sharedName.
func (o *options) advertised() (map[string]string, error) {
	all := map[string]string{}
	for _, a := range o.advertise {
		name, address := named(a)
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("advertise %q: want [NAME=]HOST:PORT or %s=HOST:PORT", a, sharedName)
		}
		if all[name] != "" {
			return nil, fmt.Errorf("advertise: %q is there twice", name)
		}
		all[name] = address
	}
	return all, nil
}

// parseListener reads [NAME=]HOST:PORT[?proxy=v2&zone=ZONE].
func parseListener(text string) (wire.Listener, error) {
	wrong := func(why string) (wire.Listener, error) {
		return wire.Listener{}, fmt.Errorf("listen %q: %s", text, why)
	}
	place, query, _ := strings.Cut(text, "?")
	name, address := named(place)
	if _, _, err := net.SplitHostPort(address); err != nil {
		return wrong("want [NAME=]HOST:PORT")
	}
	if name == sharedName {
		return wrong("a listener of this name could not be told from the shared address in --advertise")
	}
	l := wire.Listener{Name: name, Address: address}
	values, err := url.ParseQuery(query)
	if err != nil {
		return wrong(err.Error())
	}
	for key, value := range values {
		switch {
		case len(value) != 1:
			return wrong(key + " is there twice")
		case key == "proxy" && value[0] == "v2":
			l.Proxy = true
		case key == "proxy":
			return wrong("proxy=v2 is the only version of the PROXY protocol that is understood")
		case key == "zone":
			l.Zone = value[0]
		default:
			return wrong("want proxy=v2 or zone=ZONE, not " + key)
		}
	}
	return l, nil
}

// named takes [NAME=]HOST:PORT apart.
func named(s string) (name, address string) {
	if name, address, ok := strings.Cut(s, "="); ok {
		return name, address
	}
	return "default", s
}

func peerAddress(o *options) string {
	if p := o.agent.Peer; p.Advertised != "" {
		return p.Address + "=" + p.Advertised
	}
	return o.agent.Peer.Address
}

// setPeerAddress reads [BIND=]HOST:PORT. What is advertised must be an address that can be connected to, which the agent checks.
func setPeerAddress(o *options, v string) error {
	bind, advertised, both := strings.Cut(v, "=")
	for i, address := range []string{bind, advertised} {
		if i == 1 && !both || v == "" { // empty: the default
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return errors.New("want [BIND=]HOST:PORT, where BIND is a HOST:PORT, too")
		}
	}
	o.agent.Peer = agent.PeerAddress{Address: bind, Advertised: advertised}
	return nil
}

// autoAge stands for "decide by what is advertised" until listeners.
const autoAge = time.Duration(-1)

func maxAge(o *options) string {
	if o.agent.Wire.MaxAge == autoAge {
		return "auto"
	}
	return o.agent.Wire.MaxAge.String()
}

func setMaxAge(o *options, v string) error {
	if v == "auto" {
		o.agent.Wire.MaxAge = autoAge
		return nil
	}
	age, err := time.ParseDuration(v)
	if err != nil || age < 0 {
		return errors.New("want a duration of at least 0, as 15m, or auto")
	}
	o.agent.Wire.MaxAge = age
	return nil
}
