package batch

import (
	"bytes"
	"runtime"
	"testing"
)

// FuzzBytesFromOutside: nothing that a client sends makes the package panic, or hold more memory than a small multiple of its bounds.
func FuzzBytesFromOutside(f *testing.F) {
	for _, codec := range allCodecs {
		f.Add([]byte(build(f, Options{Codec: codec}, some(20))), true)
		f.Add([]byte(build(f, Options{Codec: codec}, some(3000)))[:200], true)
	}
	f.Add([]byte(Marker(0, 1, 1, true, 1, now)), false)
	const bound = 4 << 20
	rules := open
	rules.MaxDecompressed = bound
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		b = bytes.Clone(b)
		if sign && len(b) >= HeaderSize { // else the checksum keeps the fuzzer out
			put32(b, atLength, int32(len(b)-PrefixSize))
			b[atMagic] = Magic
			resign(b)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = Split(b, func(position int, v View) bool {
			info, err := Validate(v, rules)
			n := int32(0)
			var walked error
			for r, err := range v.Records(bound) {
				if walked = err; err != nil {
					break
				}
				headers := int32(0)
				for range r.Headers() {
					headers++
				}
				if headers != r.HeaderCount {
					t.Errorf("record %d has %d headers of %d", n, headers, r.HeaderCount)
				}
				n++
			}
			if err != nil {
				if KindOf(err) == 0 {
					t.Errorf("an error of no kind: %v", err)
				}
				return true
			}
			if walked != nil || n != v.Count() {
				t.Errorf("valid, but %d of %d records were read: %v", n, v.Count(), walked)
			}
			v.Accept(info)
			if again, err := Validate(v, rules); err != nil || again != info {
				t.Errorf("accepted, but then %+v, %v instead of %+v", again, err, info)
			}
			plain, err := Recompress(v, None, 0)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := Validate(plain, Rules{Now: rules.Now, BeforeMaxMs: rules.BeforeMaxMs, AfterMaxMs: rules.AfterMaxMs}); err != nil || again != info {
				t.Errorf("decompressed, but then %+v, %v instead of %+v", again, err, info)
			}
			return true
		})
		runtime.ReadMemStats(&after)
		// Four walks, each with at most the bound, a zstd window or what a snappy block can hold.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 512<<20 {
			t.Errorf("%d bytes were allocated for %d", grown, len(b))
		}
	})
}

// FuzzRoundTrip: what a builder is given, the view answers.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(1), int64(5), []byte("key"), []byte("value"), []byte("header"), uint8(3), false)
	f.Add(uint8(4), int64(-1), []byte(nil), []byte(nil), []byte(nil), uint8(1), true)
	f.Fuzz(func(t *testing.T, codec uint8, timestamp int64, key, value, header []byte, n uint8, null bool) {
		if key == nil {
			key = []byte{}
		}
		if header == nil {
			header = []byte{}
		}
		if null || value == nil {
			value = nil
		}
		b := NewBuilder(Options{Codec: Codec(codec % uint8(codecs))})
		want := make([]plain, int(n)+1)
		for i := range want {
			want[i] = plain{Timestamp: timestamp + int64(i)*int64(n), Key: key, Value: value, Headers: []Header{{Key: header, Value: value}}}
			b.Append(want[i].Timestamp, want[i].Key, want[i].Value, want[i].Headers...)
		}
		v, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if b.options.Codec == None && b.Size() != len(v) {
			t.Errorf("size %d, built %d", b.Size(), len(v))
		}
		if _, err := Validate(v, Rules{TimestampType: LogAppendTime}); err != nil {
			t.Fatal(err)
		}
		if diff := differ(want, read(t, v)); diff != "" {
			t.Error(diff)
		}
	})
}
