package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestBadInputClosesTheConnection(t *testing.T) {
	u16, u32 := binary.BigEndian.AppendUint16, binary.BigEndian.AppendUint32
	header := func(key, version uint16) []byte { return u16(u32(u16(u16(nil, key), version), 7), 0) } // empty client id
	framed := func(b []byte) []byte { return append(u32(nil, uint32(len(b))), b...) }
	metadata := frameOf(kmsg.NewPtrMetadataRequest(), 9, 1)
	for name, c := range map[string]struct {
		bytes  []byte
		reason reason
		hangUp bool // the client sends no more, but waits for an answer
	}{
		"negative length":              {u32(nil, 1<<31), reasonMalformed, false},
		"length -1":                    {u32(nil, 1<<32-1), reasonMalformed, false},
		"zero length":                  {u32(nil, 0), reasonMalformed, false},
		"length 7":                     {u32(nil, 7), reasonMalformed, false},
		"one byte too long":            {u32(nil, 4<<20+1), reasonTooLong, false},
		"an HTTP request":              {[]byte("GET / HTTP/1.1\r\n\r\n"), reasonTooLong, false},
		"a TLS hello":                  {[]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc}, reasonTooLong, false},
		"garbage":                      {framed(bytes.Repeat([]byte{0xa5}, 100)), reasonUnsupported, false},
		"unknown key":                  {framed(header(999, 0)), reasonUnsupported, false},
		"negative key":                 {framed(header(1<<16-1, 0)), reasonUnsupported, false},
		"a key that is not served":     {framed(header(uint16(kmsg.WriteTxnMarkers), 1)), reasonUnsupported, false},
		"unknown version":              {framed(header(3, 13)), reasonUnsupported, false},
		"negative version":             {framed(header(3, 1<<16-1)), reasonUnsupported, false},
		"Produce 2, announced only":    {framed(header(0, 2)), reasonUnsupported, false},
		"header without client id":     {framed(header(3, 1)[:8]), reasonMalformed, false},
		"header with half a client id": {framed(append(u16(header(3, 1)[:8], 50), "abc"...)), reasonMalformed, false},
		"client id of length -2":       {framed(u16(header(3, 1)[:8], 1<<16-2)), reasonMalformed, false},
		"flexible header without tags": {framed(header(3, 9)), reasonMalformed, false},
		"body that ends too soon":      {framed(append(header(3, 1), 0, 0, 0, 9, 1)), reasonMalformed, false},
		"2^32-1 tags":                  {framed(append(header(3, 9), 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f)), reasonMalformed, false},
		"small, but 50 MiB decoded":    {framed(append(append(header(3, 9), 0, 0x81, 0x80, 0x40), make([]byte, 3<<20)...)), reasonTooLong, false},
		"cut off in the length":        {metadata[:3], reasonClient, true},
		"cut off in the header":        {metadata[:9], reasonClient, true},
		"cut off in the body":          {metadata[:len(metadata)-1], reasonClient, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(context.Context, Request, kmsg.Request) func() Response {
				t.Error("the handler was asked")
				return nil
			})
			conn := s.dial()
			conn.send(c.bytes)
			if c.hangUp {
				if err := conn.Conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			conn.closed()
			eventually(t, "counted as "+string(c.reason), func() bool {
				return s.metric("leat_wire_connections_closed_total", string(c.reason)) == 1
			})
			if n := s.metric("leat_wire_memory_bytes"); n != 0 {
				t.Errorf("%v bytes of the budget are lost", n)
			}
		})
	}
}

func TestAnswersBeforeBadInputStillGoOut(t *testing.T) {
	release := make(chan struct{})
	s := start(t, func(_ context.Context, _ Request, body kmsg.Request) func() Response {
		return func() Response { <-release; return Response{Message: body.ResponseKind()} }
	})
	c := s.dial()
	c.send(append(frameOf(kmsg.NewPtrMetadataRequest(), 1, 1), 0xff, 0xff, 0xff, 0xff))
	close(release)
	if id, _ := c.receive(); id != 1 {
		t.Error(id)
	}
	c.closed()
}

func TestHandlersThatFailCloseTheConnectionOnly(t *testing.T) {
	for name, h := range map[string]handlerFunc{
		"panic in Begin":  func(context.Context, Request, kmsg.Request) func() Response { panic("boom") },
		"panic in finish": func(context.Context, Request, kmsg.Request) func() Response { return func() Response { panic("boom") } },
		"no finish":       func(context.Context, Request, kmsg.Request) func() Response { return nil },
		"no answer": func(context.Context, Request, kmsg.Request) func() Response {
			return func() Response { return Response{} }
		},
		"nil message": func(context.Context, Request, kmsg.Request) func() Response {
			return func() Response { return Response{Message: (*kmsg.MetadataResponse)(nil)} }
		},
		"another's answer": func(context.Context, Request, kmsg.Request) func() Response {
			return func() Response { return Response{Message: kmsg.NewPtrFetchResponse()} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(ctx context.Context, r Request, body kmsg.Request) func() Response {
				if r.Key == 18 {
					return empty(ctx, r, body)
				}
				return h(ctx, r, body)
			})
			other := s.dial()
			c := s.dial()
			c.send(frameOf(kmsg.NewPtrMetadataRequest(), 1, 1))
			c.closed()
			eventually(t, "counted", func() bool { return s.metric("leat_wire_connections_closed_total", string(reasonPanic)) == 1 })
			if n := s.metric("leat_wire_panics_total"); (n == 1) != (strings.HasPrefix(name, "panic") || name == "nil message") {
				t.Errorf("%v panics", n)
			}
			if n := s.metric("leat_wire_memory_bytes"); n != 0 {
				t.Errorf("%v bytes of the budget are lost", n)
			}
			other.send(apiVersions(3))
			other.receive()
		})
	}
}

func TestMemoryFollowsWhatArrivesNotWhatIsAnnounced(t *testing.T) {
	s := start(t, empty)
	var conns []*client
	for range 20 {
		c := s.dial()
		c.send(append(binary.BigEndian.AppendUint32(nil, 4<<20), 0, 3, 0, 1, 0, 0, 0, 1))
		conns = append(conns, c)
	}
	eventually(t, "all have begun", func() bool { return s.metric("leat_wire_memory_bytes") >= 20*firstStep })
	if n := s.metric("leat_wire_memory_bytes"); n != 20*firstStep {
		t.Errorf("%v bytes for twenty announced frames", n)
	}
	conns[0].send(make([]byte, 1<<20))
	eventually(t, "room for what came", func() bool { return s.metric("leat_wire_memory_bytes") > 19*firstStep+1<<20 })
	if n := s.metric("leat_wire_memory_bytes"); n > 19*firstStep+2<<20 {
		t.Errorf("%v bytes after one MiB came", n)
	}
}

func TestRoomAtOnceIsAsMuchAsTheClientHasSentInOneFrame(t *testing.T) {
	s := start(t, empty, func(cfg *Config) { cfg.MaxFrame, cfg.Memory = 2*mostTrusted, 4*mostTrusted })
	announce := func(size int) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(size)), 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff)
	}
	for _, sent := range []int{3 << 20, mostTrusted + 1<<20} {
		c := s.dial()
		c.send(append(announce(sent), make([]byte, sent-minFrameBytes-2)...)) // what follows a body is ignored
		c.receive()
		eventually(t, "nothing is held", func() bool { return s.metric("leat_wire_memory_bytes") == 0 })
		c.send(announce(2 * mostTrusted))
		want := float64(min(sent, mostTrusted))
		eventually(t, "room at once", func() bool { return s.metric("leat_wire_memory_bytes") == want })
		_ = c.Close()
		eventually(t, "nothing is held", func() bool { return s.metric("leat_wire_memory_bytes") == 0 })
	}
}

func TestSilentConnectionsAreCheap(t *testing.T) {
	const n = 4000
	s := start(t, empty)
	s.dial()
	eventually(t, "first connection", func() bool { return s.metric("leat_wire_connections_open") == 1 })
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := memory()
	for range n {
		s.dial()
	}
	eventually(t, "all connections", func() bool { return s.metric("leat_wire_connections_open") == n+1 })
	each := (memory() - before) / n
	t.Logf("%d bytes for each silent connection, the client's end included", each)
	if each > 12<<10 {
		t.Errorf("%d bytes for each silent connection", each)
	}
}

func TestConnectionLimits(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(*Config)
		reason reason
	}{
		"all":     {func(c *Config) { c.MaxConnections = 2 }, reasonLimit},
		"each ip": {func(c *Config) { c.MaxConnectionsPerIP = 2 }, reasonLimitIP},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, empty, c.edit)
			first, second := s.dial(), s.dial()
			for _, c := range []*client{first, second} {
				c.send(apiVersions(0))
				c.receive()
			}
			s.refuses()
			if n := s.metric("leat_wire_connections_closed_total", string(c.reason)); n != 1 {
				t.Errorf("%v refused", n)
			}
			first.Close()
			eventually(t, "room again", func() bool { return s.metric("leat_wire_connections_open") == 1 })
			third := s.dial()
			third.send(apiVersions(0))
			third.receive()
		})
	}
}

func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	big := net.Buffers{make([]byte, 64<<20)}
	s := start(t, func(context.Context, Request, kmsg.Request) func() Response {
		return func() Response { return Response{Body: big} }
	}, func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	c := s.dial()
	c.send(frameOf(kmsg.NewPtrFetchRequest(), 11, 1))
	eventually(t, "closed", func() bool { return s.metric("leat_wire_connections_closed_total", string(reasonWrite)) == 1 })
}
