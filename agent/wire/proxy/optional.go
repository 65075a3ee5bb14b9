package proxy

import (
	"bufio"
	"errors"
	"net"
)

// Optional makes of l a listener whose connections may begin with a header, which is read and forgotten: what a listener for health checks
// needs, where a balancer sends its header and people and Prometheus come without. Who reaches it may leave the header out, so it is
// nothing to learn a client's address from, and addresses stay those of the connections.
//
// Only protocols in which the client speaks first, and not with the header's first byte, a carriage return, can be told from a header: HTTP.
// A header is read with the first byte that is asked for, so under the reader's deadline and at nobody else's cost; a bad one is an error of
// that read and of all that follow, which wraps ErrHeader.
func Optional(l net.Listener) net.Listener { return optional{l} }

type optional struct{ net.Listener }

func (l optional) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &headed{Conn: nc, r: bufio.NewReader(nc)}, nil
}

// headed is a connection that may begin with a header. All is its reader's, of whom there is one at a time.
//
// It can be closed for writing alone if the connection can: so a server of net/http ends one whose request it did not read whole.
type headed struct {
	net.Conn
	r   *bufio.Reader
	met bool  // a header has been looked for
	bad error // what became of that
}

// Read reads what follows the header.
func (c *headed) Read(b []byte) (int, error) {
	if !c.met {
		if first, err := c.r.Peek(1); err != nil {
			return 0, err // of the connection: a deadline that has passed is no answer yet
		} else if c.met = true; first[0] == signature[0] {
			_, c.bad = Read(c.r)
		}
	}
	if c.bad != nil {
		return 0, c.bad
	}
	return c.r.Read(b)
}

// CloseWrite implements what *net.TCPConn does.
func (c *headed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
