package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// recordLog is a handler that answers Fetch out of one log, as the read path does: from the offset on that is asked for, in bytes.
type recordLog struct {
	t     *testing.T
	s     *Server
	bytes []byte
	most  atomic.Int64 // that was held at once
	none  atomic.Int64 // answers without records
}

func (l *recordLog) Begin(ctx context.Context, r Request, body kmsg.Request) func() Response {
	from := int(body.(*kmsg.FetchRequest).Topics[0].Partitions[0].FetchOffset)
	return func() Response {
		n, _ := r.Memory.Take(ctx, int64(len(l.bytes)-from), 20*time.Second)
		r.Memory.Hold(n)
		for used := l.s.answers.Used(); ; {
			if most := l.most.Load(); used <= most || l.most.CompareAndSwap(most, used) {
				break
			}
		}
		if n == 0 {
			l.none.Add(1)
		}
		return Response{Body: net.Buffers{nil, l.bytes[from : from+int(n)]}}
	}
}

// reader reads the log, piece by piece with a pause after each; it connects again when it is cut off.
type reader struct {
	l     *recordLog
	piece int
	pause func()
	cut   int // times that it was cut off
}

// run returns when it has read everything.
func (r *reader) run() {
	for from := 0; from < len(r.l.bytes); {
		c := connectPipe(r.l.t, r.l.s)
		for from < len(r.l.bytes) {
			n, err := r.fetch(c, from)
			if err != nil {
				r.cut++
				break
			}
			from += n
		}
		c.Close()
	}
}

// fetch is one request and its answer, of which it tells how many bytes of the log it has.
func (r *reader) fetch(c *client, from int) (got int, err error) {
	req := kmsg.NewPtrFetchRequest()
	topic, part := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	part.FetchOffset = int64(from)
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	if _, err := c.Write(frameOf(req, 11, 1)); err != nil {
		return 0, err
	}
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, err
	}
	size, piece := int(binary.BigEndian.Uint32(head[:]))-4, make([]byte, r.piece)
	for got < size {
		n, err := io.ReadFull(c, piece[:min(r.piece, size-got)])
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(piece[:n], r.l.bytes[from+got:from+got+n]) {
			r.l.t.Error("not what was written")
		}
		got += n
		r.pause()
	}
	return got, nil
}

// TestSlowReadersHoldLittleAndStarveNobody: 200 clients that read slowly, and a budget that is a hundredth of what they want at once.
func TestSlowReadersHoldLittleAndStarveNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		s, err := New(config(func(c *Config) { c.Memory = 16 << 20 }), served, slog.New(slog.DiscardHandler), reg)
		if err != nil {
			t.Fatal(err)
		}
		const limit = 8 << 20
		l := &recordLog{t: t, s: s, bytes: bytes.Repeat([]byte("0123456789abcdef"), limit/2/16)}
		ctx, cancel := context.WithCancel(t.Context())
		s.start(ctx, l)

		quick := reader{l: l, piece: 1 << 20, pause: func() {}}
		proven := connectPipe(t, s) // has read quickly before the others come
		if n, err := quick.fetch(proven, 0); err != nil || n != len(l.bytes) {
			t.Fatal(n, err)
		}
		synctest.Wait() // what it held is free again, so that one of the slow gets more than it can read in time
		slow := make([]reader, 200)
		var all sync.WaitGroup
		for i := range slow {
			slow[i] = reader{l: l, piece: 128 << 10, pause: func() { time.Sleep(2 * time.Second) }} // 1 MiB in 16 s, of the 30 that it has
			all.Go(slow[i].run)
		}
		for range 100 {
			time.Sleep(time.Second)
			begun := time.Now()
			if n, err := quick.fetch(proven, 0); err != nil || n == 0 || time.Since(begun) > time.Second {
				t.Fatalf("a quick reader gets %d bytes after %v, %v", n, time.Since(begun), err)
			}
		}
		proven.Close()
		newcomer := reader{l: l, piece: 1 << 20, pause: func() {}}
		newcomer.run()
		all.Wait()
		if most := l.most.Load(); most > limit || most < limit/2 {
			t.Errorf("%d bytes were held at once, of %d", most, limit)
		}
		cut := 0
		for i := range slow {
			cut += slow[i].cut
		}
		srv := server{Server: s, t: t, reg: reg}
		if n := srv.metric("leat_wire_connections_closed_total", string(reasonSlowReader)); n == 0 || int(n) != cut {
			t.Errorf("%v connections are counted as slow readers, %d saw it", n, cut)
		}
		if l.none.Load() == 0 || srv.metric("leat_wire_answer_memory_waits_total") == 0 {
			t.Error("nobody had to wait")
		}
		cancel()
		s.drain()
		if n := s.answers.Used(); n != 0 {
			t.Errorf("%d bytes are lost", n)
		}
	})
}
