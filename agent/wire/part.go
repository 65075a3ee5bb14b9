package wire

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Java client from 4.0 on that wants Metadata while none of its brokers can be asked forgets all it knows and begins again with
// its bootstrap addresses (KIP-899). It wants Metadata whenever a connection has ended, and cannot ask a broker whose connection
// has ended for reconnect.backoff.ms, 50: so behind one address, where it knows one broker, the end of a connection makes it forget. A
// consumer that leads its group and looks before it knows again finds its topics gone, and has all members join again.
//
// It does not forget if the connection ends while a Metadata request of its is unanswered: that counts as a failed one, and the
// next waits for retry.backoff.ms, 100, by when the broker may be asked again. This holds however slow the network and however
// seldom the client looks, as both times begin when it notices. So the moment for a Java client's connection to go is when it asks for
// Metadata, which is then not begun, as if it had come a moment later:
//
//	client   Fetch ──►              Fetch ──►                  Metadata ──► (unanswered)
//	agent              ◄── answer             ◄── refresh first             what has begun is answered, the end
//	         ───────── retire.at ──────────────────────────────────────────────────────────── retire.by ───►
//
// One that has fetched is made to ask, by an answer to a Fetch that says that topic ids are not what they were
// (FETCH_SESSION_TOPIC_ID_ERROR): it then asks for Metadata at once and fetches from where it was, in a new session, which it needs on its
// next connection anyway. Others ask when their metadata is of age. Who has not asked by retire.by goes as everybody does.
//
// Connections that ask for neither, as those to a coordinator, do not matter: the client has its other one to ask for Metadata.

// refreshTime is how long a connection of age waits for a Metadata request: clients refresh every five minutes
// (metadata.max.age.ms).
const refreshTime = 5*time.Minute + 30*time.Second

// javaSoftware is how Apache Kafka's Java client names itself in ApiVersions (KIP-511).
const javaSoftware = "apache-kafka-java"

// refreshVersion is the Fetch version from which on clients know topic ids (KIP-516) and the error about them.
const refreshVersion = 13

// habits is what the reader has seen a Java client do on this connection.
type habits struct {
	fetched, refreshed bool // it has begun a Fetch; it was told to refresh
}

// part decides, when a request is about to begin, whether the connection goes instead: with the error errAged or errShed. It may
// answer another way to begin the request. The first Metadata and the first Fetch of a connection always begin, so that a client gets on
// however short its connections live.
func part(c *conn, h Header, begin func() func() Response) (func() func() Response, error) {
	if !c.listener.Shared || c.r.software.Name != javaSoftware {
		return begin, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.flight
	retiring := f.retire.begun(time.Now())
	switch kmsg.Key(h.Key) {
	case kmsg.Metadata:
		if retiring && f.waits {
			return nil, f.retire.why
		}
		f.waits = true
	case kmsg.Fetch:
		if retiring && c.r.habits.fetched && !c.r.habits.refreshed && h.Version >= refreshVersion {
			c.r.habits.refreshed = true
			return refreshFirst, nil
		}
		c.r.habits.fetched, f.waits = true, true
	}
	return begin, nil
}

// refreshFirst begins a Fetch that is answered without its handler.
func refreshFirst() func() Response {
	resp := kmsg.NewPtrFetchResponse()
	resp.ErrorCode = kerr.FetchSessionTopicIDError.Code
	return func() Response { return Response{Message: resp} }
}
