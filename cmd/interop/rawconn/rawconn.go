// Package rawconn speaks the Kafka protocol one frame at a time, at exactly the version the caller set, valid or not:
// what a recorder or a probe needs and a real client hides. It must never be imported by what ships.
package rawconn

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// timeout bounds each read and write, long enough for a group's first rebalance on a machine that is as slow as may be.
const timeout = time.Minute // unless SetPatience says otherwise, for reads

// maxFrame bounds an answer; the longest that a recorder asks for is far below.
const maxFrame = 64 << 20

// Conn is one connection. It is owned by one goroutine: answers are read in the order of the requests.
type Conn struct {
	conn     net.Conn
	patience time.Duration // how long one read may take
	clientID string
	next     int32
}

// Dial connects to addr.
func Dial(addr, clientID string) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: c, patience: timeout, clientID: clientID}, nil
}

// SetPatience bounds how long each later read may wait.
func (c *Conn) SetPatience(d time.Duration) { c.patience = d }

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Ask sends req at the version it has been given and decodes the answer.
func (c *Conn) Ask(req kmsg.Request) (kmsg.Response, error) {
	if err := c.Send(req); err != nil {
		return nil, err
	}
	return c.Receive(req)
}

// Send writes req and does not wait.
func (c *Conn) Send(req kmsg.Request) error {
	c.next++
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID(c.clientID))
	return c.Write(f.AppendRequest(nil, req, c.next))
}

// Receive reads the next answer as the answer to req.
func (c *Conn) Receive(req kmsg.Request) (kmsg.Response, error) {
	body, err := c.ReadFrame()
	if err != nil {
		return nil, err
	}
	if len(body) < 4 {
		return nil, fmt.Errorf("answer of %d bytes has no header", len(body))
	}
	body = body[4:]
	// ApiVersions answers keep header version 0, so that a client of any age can read them (KIP-511).
	if req.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("answer header has tagged fields: %x", body[:min(len(body), 16)])
		}
		body = body[1:]
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%s v%d answer: %w", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return resp, nil
}

// Write sends bytes as they are.
func (c *Conn) Write(frame []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(frame)
	return err
}

// ReadFrame reads one answer: correlation id and body, without the length. It returns io.EOF when the other side has
// closed the connection between two answers.
func (c *Conn) ReadFrame() ([]byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c.conn, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("answer of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return nil, err
	}
	return body, nil
}
