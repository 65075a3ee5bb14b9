package batch

import (
	"bytes"
	"fmt"
	"testing"
)

// text are n records of size bytes that compress about as well as logs do.
func text(n, size int) []plain {
	records := make([]plain, n)
	for i := range records {
		v := bytes.Repeat(fmt.Appendf(nil, `{"level":"info","request":%d,"took":%d} `, i*7919, i*31), size/30+1)[:size]
		records[i] = plain{Timestamp: now + int64(i), Key: fmt.Appendf(nil, "user-%d", i), Value: v}
	}
	return records
}

func BenchmarkValidate(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, codec := range allCodecs {
			b.Run(fmt.Sprintf("%s/%dB", codec, size), func(b *testing.B) {
				v := build(b, Options{Codec: codec}, text(512<<10/size, size))
				info, err := Validate(v, Rules{TimestampType: LogAppendTime})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(info.Decompressed)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Validate(v, open); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, codec := range allCodecs {
		b.Run(codec.String(), func(b *testing.B) {
			v := build(b, Options{Codec: codec}, text(512, 1024))
			b.SetBytes(512 * 1024)
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range v.Records(0) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkRecompress(b *testing.B) {
	v := build(b, Options{}, text(512, 1024))
	for _, codec := range allCodecs[1:] {
		b.Run(codec.String(), func(b *testing.B) {
			b.SetBytes(int64(len(v)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Recompress(v, codec, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	records := text(512, 1024)
	builder := NewBuilder(Options{})
	b.SetBytes(512 * 1024)
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset(Options{})
		for _, r := range records {
			builder.Append(r.Timestamp, r.Key, r.Value)
		}
		if _, err := builder.Build(); err != nil {
			b.Fatal(err)
		}
	}
}
