package agent

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// predecessorPatience bounds one attempt to reach an agent that led before.
const predecessorPatience = 2 * time.Second

// rouse has an agent that was just fenced find that out now. An agent that is idle asks the bucket nothing, and so would go on
// answering fetches from what it knows, perhaps for hours. It is asked for the metadata of all topics: a fresh read, for which
// it must prove that it still leads.
//
// This decides only how soon it ends: its fence is in the journal already, and nobody has to be reached for safety. A
// predecessor that is dead, the usual case, refuses the connection.
func rouse(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, predecessorPatience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	all := kmsg.NewPtrMetadataRequest()
	all.SetVersion(1) // no topics named: all
	if _, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("leat-successor")).AppendRequest(nil, all, 1)); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 4)) // whatever it answers: it has asked the journal by then
	return err
}
