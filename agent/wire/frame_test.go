package wire

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire/shape"
)

func FuzzFrame(f *testing.F) {
	served := func(key int16) (int16, int16, bool) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			return 0, 0, false
		}
		return 0, req.MaxVersion(), true
	}
	for _, key := range []int16{0, 1, 2, 3, 8, 9, 11, 14, 18, 19, 44, 75} {
		req := kmsg.RequestForKey(key)
		for _, version := range []int16{0, req.MaxVersion()} {
			req.SetVersion(version)
			f.Add(kmsg.NewRequestFormatter(kmsg.FormatterClientID("fuzz")).AppendRequest(nil, req, 7)[sizeBytes:])
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		p, err := parseHeader(frame, served)
		if err != nil || p.refused {
			return
		}
		memory, err := p.shape.Check(p.Version, p.body)
		if err != nil {
			return
		}
		if memory > 200*int64(len(frame)) {
			t.Fatalf("%d bytes decode into %d", len(frame), memory)
		}
		if _, err := decodeBody(p); err != nil && !errors.Is(err, shape.ErrMalformed) {
			t.Fatal(err)
		}
	})
}
