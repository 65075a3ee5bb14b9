package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthSaysWhatTheAgentSays(t *testing.T) {
	agent := startAgent(t, "--store", "mem:")
	for _, args := range [][]string{{"--http", agent.http}, {"--http", agent.http, "--live"}} {
		p, code := run(t, nil, append([]string{"health"}, args...)...)
		if code != 0 || p.stderr.String() != "" {
			t.Errorf("%v: exit code %d, %s", args, code, &p.stderr)
		}
		if want := map[bool]string{true: "alive\n", false: "serving\n"}[len(args) == 3]; p.stdout.String() != want {
			t.Errorf("%v printed %q, want %q", args, p.stdout.String(), want)
		}
	}
	agent.drain()
	p, code := run(t, nil, "health", "--http", agent.http)
	oneError(t, p, code, agent.http, "refused")
}

// TestHealthFindsTheAgentByItsSettings: an image sets LEAT_HTTP once, for the agent and for its health check.
func TestHealthFindsTheAgentByItsSettings(t *testing.T) {
	agent := startAgent(t, "--store", "mem:", "--http", "0.0.0.0:0")
	_, port, err := net.SplitHostPort(agent.http)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"0.0.0.0:", ":", "localhost:"} {
		// What the agent needs beside, and health does not, is there too: a wrong value of it must not pass for an answer.
		env := []string{"LEAT_HTTP=" + address + port + "?proxy=v2", "LEAT_STORE=mem:", "LEAT_LISTEN=0.0.0.0:9092", "http_proxy=http://127.0.0.1:1"}
		if p, code := run(t, env, "health"); code != 0 {
			t.Errorf("%s: exit code %d, %s", address, code, &p.stderr)
		}
	}
}

func TestHealthOfAnAgentThatDoesNotServeIsOneLine(t *testing.T) {
	answers := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			http.Error(rw, "not serving\nas more lines say"+strings.Repeat(" and say", 1000), http.StatusServiceUnavailable)
			return
		}
		http.Redirect(rw, r, "/readyz", http.StatusFound)
	}))
	defer answers.Close()
	address := answers.Listener.Addr().String()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"not serving", []string{"--http", address}, []string{address, "503", "not serving"}},
		{"elsewhere", []string{"--http", address, "--live"}, []string{"302"}},
		{"silent", []string{"--http", silent.Addr().String()}, []string{silent.Addr().String(), "deadline"}},
		{"no pages", []string{"--http", ""}, []string{"--http is empty"}},
		{"no address", []string{"--http", "nonsense"}, []string{"nonsense"}},
		{"stray argument", []string{"x"}, []string{`"x"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, code := run(t, nil, append([]string{"health"}, c.args...)...)
			oneError(t, p, code, c.want...)
		})
	}
}

func TestHealthAsksTheLoopbackAddressOfAnAgentThatListensOnAll(t *testing.T) {
	for setting, want := range map[string]string{
		"auto": usualHTTP, "0.0.0.0:1": "127.0.0.1:1", ":1": "127.0.0.1:1", "[::]:1": "[::1]:1", "10.0.0.7:1": "10.0.0.7:1", "host:1": "host:1",
		"auto?proxy=v2": usualHTTP, "0.0.0.0:1?proxy=v2": "127.0.0.1:1",
	} {
		if got, err := healthAddress(setting); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", setting, got, err, want)
		}
	}
	for _, s := range settings {
		if s.name == "http" && !strings.Contains(s.usage, usualHTTP) {
			t.Errorf("--http says %q, health takes %s for the usual address", s.usage, usualHTTP)
		}
	}
}
