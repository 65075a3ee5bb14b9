package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTenThousandSilentConnections: they cost little memory, are dropped by nobody else's fault, and the agent serves on.
func TestTenThousandSilentConnections(t *testing.T) {
	perConnection := int64(32 << 10) // bytes of memory; a goroutine's stack and Go's own bookkeeping are far below
	if raceDetector {
		perConnection *= 8
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	wanted := min(10_000, int(limit.Cur)-500) // the agent inherits the same limit
	agent := startAgent(t, "--store", "mem:")
	produceOne(t, agent.addr, "before")
	before := resident(t, agent)
	silent := make([]net.Conn, 0, wanted)
	defer func() {
		for _, c := range silent {
			_ = c.Close()
		}
	}()
	for i := range wanted {
		c, err := net.DialTimeout("tcp", agent.addr, patience)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		silent = append(silent, c)
	}
	agent.until("all of them are open", func() bool {
		return metric(agent.get("/metrics"), "leat_wire_connections_open") >= float64(wanted)
	})
	for i, c := range silent {
		if i%2 == 0 { // half of them announce a large frame and never send it; it may be late after 30 s
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			if _, err := c.Write([]byte{0x03, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
		}
	}
	produceOne(t, agent.addr, "in between")
	grown := resident(t, agent) - before
	t.Logf("%d silent connections take %d KiB in all, %d bytes each", wanted, grown>>10, grown/int64(wanted))
	if grown > int64(wanted)*perConnection {
		t.Errorf("%d silent connections take %d bytes", wanted, grown)
	}
	for _, c := range silent {
		_ = c.Close()
	}
	agent.until("they are forgotten", func() bool {
		return metric(agent.get("/metrics"), "leat_wire_connections_open") < 50
	})
	produceOne(t, agent.addr, "after")
	if text := agent.stderr.String(); strings.Contains(text, "level=WARN") || strings.Contains(text, "level=ERROR") {
		t.Errorf("it complains:\n%s", text)
	}
	agent.drain()
}

// resident answers the bytes of memory that a process holds: as the kernel counts them, or else as the process does.
func resident(t *testing.T, p *process) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return int64(metric(p.get("/metrics"), "go_memstats_sys_bytes"))
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
