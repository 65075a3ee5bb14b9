package api

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/wire"
)

// pipeline is one connection to an agent's listener.
type pipeline struct {
	net.Conn
	t   *testing.T
	reg *prometheus.Registry
}

// listen gives an agent a listener, and connects to it.
func (s *server) listen(w *world) *pipeline {
	s.t.Helper()
	cfg := wire.Default()
	cfg.Listeners = []wire.Listener{{Name: "default", Address: "127.0.0.1:0"}}
	cfg.Drain, cfg.Mark = 0, s.Coordinator.Accepted
	reg := prometheus.NewRegistry()
	front, err := wire.New(cfg, versions.Range, w.log, reg)
	must(s.t, err)
	must(s.t, front.Listen(w.ctx))
	w.run(func(ctx context.Context) error { return front.Serve(ctx, s) })
	nc, err := net.Dial("tcp", front.Addr("default").String())
	must(s.t, err)
	s.t.Cleanup(func() { _ = nc.Close() })
	must(s.t, nc.SetDeadline(time.Now().Add(5*time.Minute)))
	return &pipeline{nc, s.t, reg}
}

// send writes requests at once, and tells how many bytes.
func (p *pipeline) send(reqs ...*kmsg.OffsetCommitRequest) (bytes float64) {
	p.t.Helper()
	var b []byte
	for _, req := range reqs {
		b = append(b, kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)...)
	}
	_, err := p.Write(b)
	must(p.t, err)
	return float64(len(b))
}

// receive answers the error of the first partition.
func (p *pipeline) receive(version int16) error {
	p.t.Helper()
	var head [8]byte
	_, err := io.ReadFull(p, head[:])
	must(p.t, err)
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	_, err = io.ReadFull(p, body)
	must(p.t, err)
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.SetVersion(version)
	must(p.t, resp.ReadFrom(body))
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}

// received waits until the agent has read so many bytes of whole requests.
func (p *pipeline) received(bytes float64) {
	p.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; <-time.After(time.Millisecond) {
		families, err := p.reg.Gather()
		must(p.t, err)
		for _, f := range families {
			if f.GetName() == "leat_wire_received_bytes_total" && f.GetMetric()[0].GetCounter().GetValue() >= bytes {
				return
			}
		}
		if time.Now().After(end) {
			p.t.Fatal("the agent does not read")
		}
	}
}

// TestACommitThatLiesBehindAStuckRequestIsAsOldAsThat: the client gives the connection up and commits at another agent.
func TestACommitThatLiesBehindAStuckRequestIsAsOldAsThat(t *testing.T) {
	tw := newTwins(t)
	tw.near.create("t", 2)
	const version = 7
	other := commitOf(version, 5)
	other.Topics[0].Partitions[0].Partition = 1
	p := tw.near.listen(tw.world)
	taken, letGo := tw.world.holds.next(tw.near.Session.ID())
	read := p.send(other)
	<-taken
	read += p.send(commitOf(version, 10)) // is read and waits for its turn,
	p.send(commitOf(version, 11))         // lies in the socket
	p.received(read)
	tw.far.commits(commitOf(8, 20), nil)
	letGo()
	if err := p.receive(version); err != nil {
		t.Errorf("the stuck one, of another partition: %v", err)
	}
	for _, where := range []string{"behind it", "unread"} {
		if err := p.receive(version); err != kerr.CoordinatorLoadInProgress {
			t.Errorf("the one %s: %v", where, err)
		}
	}
	if got := tw.world.committedOffsets(); got[0] != 20 || got[1] != 5 {
		t.Errorf("offsets are %d", got)
	}
	for end := time.Now().Add(2 * time.Minute); ; { // who tries again is welcome, once the agent has found nothing to read
		p.send(commitOf(version, 30))
		if err := p.receive(version); err == nil {
			break
		} else if err != kerr.CoordinatorLoadInProgress || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestPipelinedCommitsAreNotRefused(t *testing.T) {
	tw := newTwins(t)
	tw.near.create("t", 1)
	const version, commits = 7, 100
	tw.far.commits(commitOf(version, 1), nil)
	p := tw.near.listen(tw.world)
	var all []*kmsg.OffsetCommitRequest
	for i := range int64(commits) {
		all = append(all, commitOf(version, 10+i))
	}
	p.send(all...)
	for i := range commits {
		if err := p.receive(version); err != nil {
			t.Errorf("commit %d: %v", i, err)
		}
	}
	if got := tw.world.committedOffsets(); got[0] != 9+commits {
		t.Errorf("offsets are %d", got)
	}
}
