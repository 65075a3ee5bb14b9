package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// resign makes the checksum right after a test has changed v.
func resign(v View) View {
	v.sign()
	return v
}

func put16(v View, at int, x int16) View { binary.BigEndian.PutUint16(v[at:], uint16(x)); return v }
func put32(v View, at int, x int32) View { binary.BigEndian.PutUint32(v[at:], uint32(x)); return v }
func put64(v View, at int, x int64) View { binary.BigEndian.PutUint64(v[at:], uint64(x)); return v }

// payload answers a batch like v with other bytes for records.
func payload(v View, records []byte) View {
	v = append(v[:HeaderSize:HeaderSize], records...)
	put32(v, atLength, int32(len(v)-PrefixSize))
	return resign(v)
}

func TestEveryRuleOfTheHeader(t *testing.T) {
	fresh := func() View { return build(t, Options{}, some(3)) }
	idempotent := func() View { return build(t, Options{Producer: &Producer{ID: 5}}, some(3)) }
	for name, c := range map[string]struct {
		v     View
		rules func(*Rules)
		want  Kind // 0: accepted
	}{
		"as built":                       {v: fresh()},
		"checksum does not match":        {v: put64(fresh(), atMaxTimestamp, now), want: Corrupt},
		"length does not match":          {v: fresh()[:HeaderSize+3], want: Corrupt},
		"magic 1":                        {v: func() View { v := fresh(); v[atMagic] = 1; return v }(), want: InvalidRecord},
		"base offset is not 0":           {v: put64(fresh(), atBaseOffset, 77), want: InvalidRecord},
		"too large by one byte":          {v: fresh(), rules: func(r *Rules) { r.MaxBytes = int64(len(fresh())) - 1 }, want: TooLarge},
		"exactly the allowed size":       {v: fresh(), rules: func(r *Rules) { r.MaxBytes = int64(len(fresh())) }},
		"size is checked before crc":     {v: put64(fresh(), atMaxTimestamp, now), rules: func(r *Rules) { r.MaxBytes = 1 }, want: TooLarge},
		"codec 5":                        {v: resign(put16(fresh(), atAttributes, 5)), want: UnsupportedCompression},
		"codec 7":                        {v: resign(put16(fresh(), atAttributes, 7)), want: UnsupportedCompression},
		"zstd before version 7":          {v: build(t, Options{Codec: Zstd}, some(3)), rules: func(r *Rules) { r.ForbidZstd = true }, want: UnsupportedCompression},
		"last offset delta negative":     {v: resign(put32(fresh(), atLastDelta, -1)), want: InvalidRecord},
		"last offset delta too large":    {v: resign(put32(fresh(), atLastDelta, 3)), want: InvalidRecord},
		"last offset delta largest":      {v: resign(put32(fresh(), atLastDelta, math.MaxInt32)), want: InvalidRecord},
		"count 0":                        {v: resign(put32(fresh(), atCount, 0)), want: InvalidRecord},
		"count −1":                       {v: resign(put32(fresh(), atCount, -1)), want: InvalidRecord},
		"count and delta too small":      {v: resign(put32(put32(fresh(), atCount, 2), atLastDelta, 1)), want: InvalidRecord},
		"count and delta too large":      {v: resign(put32(put32(fresh(), atCount, 4), atLastDelta, 3)), want: InvalidRecord},
		"count and delta largest":        {v: resign(put32(put32(fresh(), atCount, math.MaxInt32), atLastDelta, math.MaxInt32-1)), want: InvalidRecord},
		"control batch":                  {v: resign(put16(fresh(), atAttributes, 0x20)), want: InvalidRecord},
		"transactional":                  {v: resign(put16(idempotent(), atAttributes, 0x10))},
		"delete horizon and unused bits": {v: resign(put16(fresh(), atAttributes, 0x40|0x80|0x4000))},
		"producer without sequence":      {v: resign(put32(idempotent(), atBaseSequence, -1)), want: InvalidRecord},
		"sequence without producer":      {v: resign(put32(fresh(), atBaseSequence, 5))},
		"bytes after the last record":    {v: payload(fresh(), append(bytes.Clone(fresh().Payload()), 0)), want: InvalidRecord},
		"no payload":                     {v: payload(fresh(), nil), want: InvalidRecord},
	} {
		t.Run(name, func(t *testing.T) {
			rules := open
			if c.rules != nil {
				c.rules(&rules)
			}
			_, err := Validate(c.v, rules)
			if KindOf(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// raw builds a batch of one record whose body is given, so that it can be malformed.
func raw(t testing.TB, codec Codec, length int64, body []byte) View {
	v := build(t, Options{}, []plain{{Timestamp: now, Value: []byte("x")}})
	v = payload(v, append(binary.AppendVarint(nil, length), body...))
	v, err := Recompress(v, codec, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMalformedRecordsAreRefusedInEveryCodec(t *testing.T) {
	good := []byte{0, 0, 0, 1, 2, 'v', 0} // attributes, times, offset, null key, value "v", no headers
	for name, c := range map[string]struct {
		length int64
		body   []byte
		good   bool
	}{
		"well formed":                  {7, good, true},
		"length too long":              {8, good, false},
		"length too short":             {6, good, false},
		"length negative":              {-1, good, false},
		"length enormous":              {math.MaxInt32, good, false},
		"empty":                        {0, nil, false},
		"key longer than record":       {7, []byte{0, 0, 0, 20, 2, 'v', 0}, false},
		"key enormous":                 {11, []byte{0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f, 2, 'v', 0}, false},
		"key −2":                       {7, []byte{0, 0, 0, 3, 2, 'v', 0}, false},
		"value longer than record":     {7, []byte{0, 0, 0, 1, 40, 'v', 0}, false},
		"headers negative":             {7, []byte{0, 0, 0, 1, 2, 'v', 1}, false},
		"headers more than bytes":      {7, []byte{0, 0, 0, 1, 2, 'v', 100}, false},
		"header":                       {9, []byte{0, 0, 0, 1, 2, 'v', 2, 0, 1}, true},
		"header key null":              {9, []byte{0, 0, 0, 1, 2, 'v', 2, 1, 1}, false},
		"header value longer":          {9, []byte{0, 0, 0, 1, 2, 'v', 2, 0, 8}, false},
		"varint of six bytes":          {12, []byte{0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 2, 'v', 0}, false},
		"varint padded to five":        {11, []byte{0, 0, 0x80, 0x80, 0x80, 0x80, 0, 1, 2, 'v', 0}, true},
		"time of eleven bytes":         {17, []byte{0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 1, 2, 'v', 0}, false},
		"cut within a varint":          {2, []byte{0, 0x80}, false},
		"offset delta does not count":  {7, []byte{0, 0, 2, 1, 2, 'v', 0}, false},
		"offset delta negative":        {7, []byte{0, 0, 1, 1, 2, 'v', 0}, false},
		"record attributes are unused": {7, []byte{255, 0, 0, 1, 2, 'v', 0}, true},
	} {
		for _, codec := range allCodecs {
			t.Run(name+"/"+codec.String(), func(t *testing.T) {
				v := raw(t, codec, c.length, c.body)
				_, err := Validate(v, open)
				if c.good && err != nil || !c.good && KindOf(err) != InvalidRecord {
					t.Errorf("got %v", err)
				}
				if c.good || strings.HasPrefix(name, "offset") {
					return
				}
				for _, err = range v.Records(0) {
				}
				if k := KindOf(err); k != InvalidRecord && k != TooLarge { // TooLarge: a length beyond what may be decompressed at all
					t.Errorf("Records: got %v", err)
				}
			})
		}
	}
}

func TestRecordTimestamps(t *testing.T) {
	const hour = 3_600_000
	for name, c := range map[string]struct {
		times []int64
		rules func(*Rules)
		bad   []int32
		max   int64
	}{
		"now":                        {times: []int64{now, now - 1}, max: now},
		"at the latest":              {times: []int64{now + hour}, max: now + hour},
		"beyond the latest":          {times: []int64{now, now + hour + 1, now + hour + 2}, bad: []int32{1, 2}},
		"none":                       {times: []int64{-1}, rules: func(r *Rules) { r.BeforeMaxMs = 0 }, max: -1},
		"negative":                   {times: []int64{-2, -1_000_000}, max: -1},
		"zero":                       {times: []int64{0}, max: 0},
		"at the earliest":            {times: []int64{now - hour}, rules: func(r *Rules) { r.BeforeMaxMs = hour }, max: now - hour},
		"before the earliest":        {times: []int64{now - hour - 1}, rules: func(r *Rules) { r.BeforeMaxMs = hour }, bad: []int32{0}},
		"smallest, which wraps":      {times: []int64{math.MinInt64}, bad: []int32{0}},
		"largest":                    {times: []int64{math.MaxInt64}, bad: []int32{0}},
		"not looked at, append time": {times: []int64{now + 2*hour}, rules: func(r *Rules) { r.TimestampType = LogAppendTime }, max: now},
	} {
		for _, codec := range allCodecs {
			t.Run(name+"/"+codec.String(), func(t *testing.T) {
				b := NewBuilder(Options{Codec: codec})
				for _, ms := range c.times {
					b.Append(ms, []byte("k"), nil)
				}
				v, err := b.Build()
				if err != nil {
					t.Fatal(err)
				}
				rules := open
				if c.rules != nil {
					c.rules(&rules)
				}
				info, err := Validate(v, rules)
				if len(c.bad) == 0 {
					if err != nil || info.MaxTimestamp != c.max {
						t.Errorf("got %d, %v, want %d", info.MaxTimestamp, err, c.max)
					}
					return
				}
				var e *Error
				if !errors.As(err, &e) || e.Kind != InvalidTimestamp || len(e.Records) != len(c.bad) {
					t.Fatalf("got %v", err)
				}
				for i, r := range e.Records {
					if r.Index != c.bad[i] || !strings.Contains(r.Message, "is out of range") {
						t.Errorf("got %+v", r)
					}
				}
			})
		}
	}
}

func TestAppendTimeFromAProducer(t *testing.T) {
	v := build(t, Options{TimestampType: LogAppendTime}, some(3))
	if _, err := Validate(v, open); err != nil { // as Kafka: accepted, and stored as create time
		t.Error(err)
	}
	rules := open
	rules.TimestampType = LogAppendTime
	if _, err := Validate(v, rules); KindOf(err) != InvalidTimestamp {
		t.Errorf("got %v", err)
	}
}

func TestCompactedTopicsNeedKeys(t *testing.T) {
	rules := open
	rules.Compacted, rules.Topic, rules.Partition = true, "compacted", 0
	for _, codec := range allCodecs {
		b := NewBuilder(Options{Codec: codec})
		b.Append(now, []byte{}, []byte("an empty key is a key"))
		b.Append(now, nil, []byte("v"))
		v, _ := b.Build()
		_, err := Validate(v, rules)
		const message = "Compacted topic cannot accept message without key in topic partition compacted-0"
		want := Error{Kind: InvalidRecord, Message: "One or more records have been rejected due to 1 record errors in total, and only showing " +
			"the first three errors at most: [RecordError(batchIndex=1, message='" + message + "')]"}
		var e *Error
		if !errors.As(err, &e) || e.Kind != want.Kind || e.Message != want.Message || len(e.Records) != 1 ||
			e.Records[0] != (RecordError{1, message}) {
			t.Errorf("%s: got %#v", codec, err)
		}
	}
}

func TestRecordErrorsAreBounded(t *testing.T) {
	rules := open
	rules.Compacted = true
	b := NewBuilder(Options{})
	for range MaxRecordErrors + 10 {
		b.Append(now, nil, nil)
	}
	v, _ := b.Build()
	_, err := Validate(v, rules)
	var e *Error
	if !errors.As(err, &e) || len(e.Records) != MaxRecordErrors || !strings.Contains(e.Message, fmt.Sprint(MaxRecordErrors+10)) {
		t.Errorf("got %v", err)
	}
}

func TestADecompressionBombIsTooLarge(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for _, codec := range allCodecs[1:] {
		v := build(t, Options{Codec: codec}, []plain{{Timestamp: now, Value: zeros}})
		rules := open
		rules.MaxDecompressed = 1 << 20 // the record's own fields are beyond it
		if _, err := Validate(v, rules); KindOf(err) != TooLarge {
			t.Errorf("%s: Validate: got %v", codec, err)
		}
		var err error
		for _, err = range v.Records(1 << 20) {
		}
		if KindOf(err) != TooLarge {
			t.Errorf("%s: Records: got %v", codec, err)
		}
		rules.MaxDecompressed += 64
		if _, err := Validate(v, rules); err != nil {
			t.Errorf("%s: at the bound: %v", codec, err)
		}
	}
}

func TestGarbageInACompressedPayloadIsRefused(t *testing.T) {
	for _, codec := range allCodecs[1:] {
		for name, damage := range map[string]func([]byte) []byte{
			"empty":    func([]byte) []byte { return nil },
			"no magic": func(p []byte) []byte { return bytes.Repeat([]byte{0xa5}, len(p)) },
			"cut":      func(p []byte) []byte { return p[:len(p)-len(p)/3] },
			"one byte": func(p []byte) []byte { return p[:1] },
		} {
			v := build(t, Options{Codec: codec}, some(500))
			v = payload(v, damage(bytes.Clone(v.Payload())))
			if _, err := Validate(v, open); KindOf(err) != InvalidRecord {
				t.Errorf("%s, %s: got %v", codec, name, err)
			}
		}
	}
}

func TestASnappyBlockCannotClaimMemory(t *testing.T) {
	v := build(t, Options{}, some(1))
	claim := append(binary.AppendUvarint(nil, 200<<20), bytes.Repeat([]byte{0}, 100)...)
	for name, p := range map[string][]byte{
		"raw":    claim,
		"framed": append(append(append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1), 0, 0, 0, byte(len(claim))), claim...),
	} {
		v := put16(bytes.Clone(v), atAttributes, int16(Snappy))
		v = payload(v, p)
		var err error
		// The claim would be one allocation of 200 MiB; what the run may cost is far less.
		perRun := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err = Validate(v, open)
			}
		}).AllocedBytesPerOp()
		if KindOf(err) != InvalidRecord || perRun > 1<<20 {
			t.Errorf("%s: got %v and %d bytes", name, err, perRun)
		}
	}
}

func TestZstdWindows(t *testing.T) {
	body := make([]byte, 0, 20<<20)
	b := NewBuilder(Options{})
	b.Append(now, nil, bytes.Repeat([]byte("0123456789abcdef"), 1<<20))
	body = append(body, b.body...)
	for window, want := range map[int]Kind{1 << 20: 0, zstdWindow: 0, 4 * zstdWindow: 0, zstdMaxWindow: 0, 2 * zstdMaxWindow: InvalidRecord} {
		out := &appender{}
		w, err := zstd.NewWriter(out, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		for rest := body; len(rest) > 0; { // as a stream, so that the frame says its window and not its size
			n := min(len(rest), 1<<20)
			_, _ = w.Write(rest[:n])
			rest = rest[n:]
		}
		_ = w.Close()
		v, _ := b.Build()
		v = payload(put16(v, atAttributes, int16(Zstd)), out.b)
		if got := zstdWindowOf(v.Payload()); got != uint64(window) {
			t.Fatalf("the frame wants %d, not %d", got, window)
		}
		if _, err := Validate(v, open); KindOf(err) != want {
			t.Errorf("window %d: got %v", window, err)
		}
	}
}

func TestAcceptCorrectsTheHeader(t *testing.T) {
	for _, codec := range allCodecs {
		v := build(t, Options{Codec: codec}, some(9))
		want := v.MaxTimestamp()
		resign(put64(v, atMaxTimestamp, now+61*60_000))
		info, err := Validate(v, open)
		if err != nil {
			t.Fatal(err)
		}
		v.Accept(info)
		if v.MaxTimestamp() != want || v.CRC() != v.ComputeCRC() {
			t.Errorf("%s: max timestamp %d, want %d", codec, v.MaxTimestamp(), want)
		}
		rules := open
		rules.TimestampType = LogAppendTime
		info, err = Validate(v, rules)
		if err != nil {
			t.Fatal(err)
		}
		base := v.BaseTimestamp()
		v.Accept(info)
		if v.MaxTimestamp() != now || v.CRC() != v.ComputeCRC() || v.Attributes().TimestampType() != LogAppendTime || v.BaseTimestamp() != base {
			t.Errorf("%s: append time is not stamped", codec)
		}
		for _, r := range read(t, v) {
			if r.Timestamp != now {
				t.Errorf("%s: a record's time is %d", codec, r.Timestamp)
			}
		}
	}
}

func TestValidatingAPlainBatchDoesNotAllocate(t *testing.T) {
	v := build(t, Options{}, some(100))
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Validate(v, open); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
