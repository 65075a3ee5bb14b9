package wire

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestRequestIsAsOldAsItsFirstByteMayBe(t *testing.T) {
	var now atomic.Uint64
	now.Store(5)
	piped(t, func(g *gated, _ *Server, c *client, _ *prometheus.Registry) {
		is := func(what string, id int32, want uint64) {
			t.Helper()
			g.begins(t, id)
			if got := g.marks[id]; got != want {
				t.Errorf("%s has mark %d, want %d", what, got, want)
			}
		}
		now.Store(10)
		c.send(metadata(0))
		is("what was there as soon as the connection was read", 0, 5)
		time.Sleep(time.Second)
		now.Store(20)
		c.send(metadata(1)) // is read while 0 is answered
		synctest.Wait()
		go func() { // lie unread behind it
			c.Write(metadata(2))
			c.Write(metadata(3))
		}()
		time.Sleep(time.Second)
		now.Store(30)
		g.answer(0)
		c.receive()
		is("what the reader waited for", 1, 20)
		g.answer(1)
		c.receive()
		is("what lay unread behind it", 2, 20)
		now.Store(40)
		g.answer(2)
		c.receive()
		is("what lay unread behind that", 3, 20)
		time.Sleep(time.Second)
		g.answer(3)
		c.receive()
		now.Store(50)
		time.Sleep(time.Second)
		c.send(metadata(4))
		is("what came when nothing lay there any more", 4, 50)
		g.answer(4)
		c.receive()
	}, func(c *Config) { c.Mark = now.Load })
}
