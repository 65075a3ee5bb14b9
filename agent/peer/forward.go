package peer

import "github.com/leat-stream/leat/agent/peer/peerpb"

// ForwardedRequest is a request of a Kafka client that another agent has to answer, with everything that the agent knows
// that the client is connected to. It was authenticated there.
type ForwardedRequest struct {
	Key, Version    int16
	Body            []byte // encoded at Version, without request header; at most MaxForward bytes
	Principal       string // "User:…"
	ClientHost      string // the client's IP address, without port
	ClientID        string
	Listener        string // that the client came in by, at the agent that passes the request on
	Zone            string // of the client
	SoftwareName    string // of the client (KIP-511)
	SoftwareVersion string
	ForwardedBy     string // the agent that passes it on; never empty, so that no request is passed on twice
}

// ForwardedResponse is the answer: Body, or why there is none.
type ForwardedResponse struct {
	Body    []byte // encoded at the request's version, without response header; at most MaxForward bytes
	Refusal Refusal
}

// Refusal tells why a forwarded request was not carried out. Nothing was done then.
type Refusal int32

// The refusals. One that this version of leat does not know is to be taken for RefusedHere.
const (
	NotRefused         Refusal = 0 // Body is the answer
	RefusedHere        Refusal = 1 // this is not the agent for it; look again at who is
	RefusedUnsupported Refusal = 2 // the API or its version is not served to other agents
	RefusedMalformed   Refusal = 3 // the body could not be decoded
	RefusedStopping    Refusal = 4 // this agent is about to leave
)

func encodeForwarded(r ForwardedRequest) *peerpb.ForwardRequest {
	return &peerpb.ForwardRequest{
		Key: int32(r.Key), Version: int32(r.Version), Body: r.Body,
		Principal: []byte(r.Principal), ClientHost: []byte(r.ClientHost), ClientId: []byte(r.ClientID), Listener: []byte(r.Listener),
		Zone: []byte(r.Zone), SoftwareName: []byte(r.SoftwareName), SoftwareVersion: []byte(r.SoftwareVersion),
		ForwardedBy: []byte(r.ForwardedBy),
	}
}

// decodeForwarded expects a checked key and version.
func decodeForwarded(m *peerpb.ForwardRequest) ForwardedRequest {
	return ForwardedRequest{
		Key: int16(m.GetKey()), Version: int16(m.GetVersion()), Body: m.GetBody(),
		Principal: string(m.GetPrincipal()), ClientHost: string(m.GetClientHost()), ClientID: string(m.GetClientId()),
		Listener: string(m.GetListener()), Zone: string(m.GetZone()), SoftwareName: string(m.GetSoftwareName()),
		SoftwareVersion: string(m.GetSoftwareVersion()), ForwardedBy: string(m.GetForwardedBy()),
	}
}
