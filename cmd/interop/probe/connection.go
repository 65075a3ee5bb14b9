package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func probeConnection(p *probe) error {
	for _, v := range []int16{0, 3, 4} {
		probeVersions(p, "plain", v, "leat-probe", "1")
	}
	probeVersions(p, "null-like software name", 3, "", "")
	probeVersions(p, "software name with a space", 3, "a b", "1")
	probeVersions(p, "software version with a slash", 3, "a", "1/2")
	probeVersions(p, "software name -a", 3, "-a", "1")
	probeVersions(p, "software name a.b-c", 3, "a.b-c", "1.2-x")

	frame := func(key, version int16, flexible bool, body []byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(key))
		b = binary.BigEndian.AppendUint16(b, uint16(version))
		b = binary.BigEndian.AppendUint32(b, 7)
		b = append(b, 0, 1, 'c')
		if flexible {
			b = append(b, 0)
		}
		b = append(b, body...)
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	for _, c := range []struct {
		label string
		bytes []byte
	}{
		{"ApiVersions version 5", frame(18, 5, true, []byte{2, 'a', 2, '1', 0})},
		{"ApiVersions version 99", frame(18, 99, true, []byte{2, 'a', 2, '1', 0})},
		{"ApiVersions version -1", frame(18, -1, false, nil)},
		{"ApiVersions version 99, garbage body", frame(18, 99, true, []byte("garbage"))},
		{"ApiVersions version 3, body cut short", frame(18, 3, true, []byte{9, 'a'})},
		{"ApiVersions version 0, extra bytes", frame(18, 0, false, []byte{1, 2, 3})},
		{"Metadata version 14", frame(3, 14, true, []byte{0, 0, 0, 0})},
		{"Metadata version -1", frame(3, -1, false, []byte{0, 0, 0, 0})},
		{"Produce version 14", frame(0, 14, true, nil)},
		{"Fetch version 3", frame(1, 3, false, nil)},
		{"unknown key 999", frame(999, 0, false, nil)},
		{"key -1", frame(-1, 0, false, nil)},
		{"key 4 (removed)", frame(4, 0, false, nil)},
		{"controller key 62 on a broker", frame(62, 0, true, nil)},
		{"Metadata 12, body is garbage", frame(3, 12, true, []byte{0xff, 0xff, 0xff, 0xff, 0x0f})},
		{"Metadata 1, a count of 2^31-1", frame(3, 1, false, []byte{0x7f, 0xff, 0xff, 0xff})},
		{"Metadata 1, body cut short", frame(3, 1, false, []byte{0, 0})},
		{"Metadata 1, extra bytes", frame(3, 1, false, []byte{0, 0, 0, 0, 9, 9, 9})},
		{"ListOffsets 1, empty body", frame(2, 1, false, nil)},
		{"frame of length 0", []byte{0, 0, 0, 0}},
		{"frame of length 4", []byte{0, 0, 0, 4, 0, 18, 0, 0}},
		{"negative length", []byte{0xff, 0xff, 0xff, 0xff}},
		{"length of 100 MiB (socket.request.max.bytes)", binary.BigEndian.AppendUint32(nil, 100<<20)},
		{"length of 100 MiB + 1", binary.BigEndian.AppendUint32(nil, 100<<20+1)},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"TLS hello", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}},
		{"header cut short: null client id only", []byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 9, 0xff, 0xff}},
	} {
		if err := probeRaw(p, c.label, c.bytes); err != nil {
			return err
		}
	}
	return nil
}

func probeVersions(p *probe, label string, version int16, name, software string) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = version, name, software
	resp, err := p.quiet(req)
	if err != nil {
		p.say("%s [ApiVersions v%d] → %v", label, version, err)
		return
	}
	r := resp.(*kmsg.ApiVersionsResponse)
	keys := len(r.ApiKeys)
	r.ApiKeys = nil
	r.FinalizedFeaturesEpoch = min(r.FinalizedFeaturesEpoch, 1) // it counts the cluster's metadata records
	p.say("%s [ApiVersions v%d] → %d keys, %s", label, version, keys, render(r))
}

// probeRaw sends bytes on a fresh connection and says what comes back within a second, and whether the connection then
// still serves.
func probeRaw(p *probe, label string, bytes []byte) error {
	p.close()
	if err := p.dial(); err != nil {
		return err
	}
	if err := p.conn.Write(bytes); err != nil {
		return err
	}
	p.conn.SetPatience(time.Second)
	body, err := p.conn.ReadFrame()
	switch {
	case err == nil:
		p.say("%s → answer of %d bytes, %x…", label, len(body), body[:min(len(body), 16)])
	case errors.Is(err, io.EOF):
		p.say("%s → connection closed", label)
		p.close()
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.say("%s → nothing, connection open", label)
		p.close()
		return nil
	default:
		p.say("%s → %v", label, errors.Unwrap(err))
		p.close()
		return nil
	}
	if _, err := p.quiet(kmsg.NewPtrApiVersionsRequest()); err != nil {
		p.say("  and the connection is closed: %s", fmt.Sprint(err))
	}
	return nil
}
