package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leat-stream/leat/agent"
)

func TestPeerAddressIsBoundHereAndAnotherIsTold(t *testing.T) {
	const told = "leat.example.org:9600" // which nobody asks, as there is no other agent
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bound, dir := free.Addr().String(), filepath.Join(t.TempDir(), "bucket")
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, "--store", "file://"+dir, "--journal", "bucket:", "--peer", bound+"="+told)
	connection, err := net.Dial("tcp", bound)
	if err != nil {
		t.Errorf("nothing listens where it was told to: %v", err)
	} else {
		_ = connection.Close()
	}
	a.drain()
	p, code := run(t, nil, "inspect", filepath.Join(dir, "leat/journal/00000000000000000001"))
	if code != 0 || !strings.Contains(p.stdout.String(), `address "`+told+`"`) {
		t.Errorf("exit code %d: the fence does not name %s:\n%s%s", code, told, p.stdout.String(), p.stderr.String())
	}
}

func TestPeerAddressIsReadAndPrinted(t *testing.T) {
	for text, want := range map[string]agent.PeerAddress{
		"":                             {},
		"0.0.0.0:9600":                 {Address: "0.0.0.0:9600"},
		":9600=10.0.0.5:19600":         {Address: ":9600", Advertised: "10.0.0.5:19600"},
		"[::]:9600=leat.example.org:1": {Address: "[::]:9600", Advertised: "leat.example.org:1"},
	} {
		o := defaults()
		if err := setPeerAddress(o, text); err != nil || o.agent.Peer != want || peerAddress(o) != text {
			t.Errorf("%q is %+v, printed as %q, %v", text, o.agent.Peer, peerAddress(o), err)
		}
	}
}
