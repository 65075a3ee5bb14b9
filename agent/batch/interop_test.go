package batch

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var kgoCodecs = map[Codec]kgo.CompressionCodec{
	Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(), LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
}

func TestAnotherClientReadsWhatIsBuilt(t *testing.T) {
	for _, codec := range allCodecs {
		v := build(t, Options{Codec: codec, BaseOffset: 1 << 33, LeaderEpoch: 2, Producer: &Producer{ID: 9, Epoch: 1, BaseSequence: 30, Transactional: true}}, some(700))
		var k kmsg.RecordBatch
		if err := k.ReadFrom(v); err != nil {
			t.Fatal(err)
		}
		if k.FirstOffset != v.BaseOffset() || int(k.Length) != v.Length()-PrefixSize || k.PartitionLeaderEpoch != v.PartitionLeaderEpoch() ||
			k.Magic != v.Magic() || uint32(k.CRC) != v.CRC() || k.Attributes != int16(v.Attributes()) || k.LastOffsetDelta != v.LastOffsetDelta() ||
			k.FirstTimestamp != v.BaseTimestamp() || k.MaxTimestamp != v.MaxTimestamp() || k.ProducerID != v.ProducerID() ||
			k.ProducerEpoch != v.ProducerEpoch() || k.FirstSequence != v.BaseSequence() || k.NumRecords != v.Count() {
			t.Errorf("%s: %+v", codec, k)
		}
		body := k.Records
		if codec != None {
			var err error
			if body, err = kgo.DefaultDecompressor().Decompress(body, kgo.CompressionCodecType(codec)); err != nil {
				t.Fatalf("%s: %v", codec, err)
			}
		}
		records := make([]kmsg.Record, k.NumRecords)
		for i := range records {
			length, n := binary.Varint(body)
			if err := records[i].ReadFrom(body[:n+int(length)]); err != nil {
				t.Fatalf("%s: %v", codec, err)
			}
			body = body[n+int(length):]
		}
		var got []plain
		for _, r := range records {
			p := plain{Timestamp: k.FirstTimestamp + r.TimestampDelta64, Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				p.Headers = append(p.Headers, Header{Key: []byte(h.Key), Value: h.Value})
			}
			got = append(got, p)
		}
		if diff := differ(some(700), got); diff != "" {
			t.Errorf("%s: %s", codec, diff)
		}
	}
}

func TestWhatAnotherClientCompressesIsRead(t *testing.T) {
	want := some(3000)
	v := build(t, Options{}, want)
	for codec, k := range kgoCodecs {
		c, err := kgo.DefaultCompressor(k)
		if err != nil {
			t.Fatal(err)
		}
		compressed, used := c.Compress(new(bytes.Buffer), v.Payload())
		if Codec(used) != codec {
			t.Fatalf("%s became %d", codec, used)
		}
		theirs := payload(put16(bytes.Clone(v), atAttributes, int16(codec)), compressed)
		info, err := Validate(theirs, open)
		if err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		if info.Decompressed != int64(len(v.Payload())) {
			t.Errorf("%s: %d bytes, want %d", codec, info.Decompressed, len(v.Payload()))
		}
		if diff := differ(want, read(t, theirs)); diff != "" {
			t.Errorf("%s: %s", codec, diff)
		}
	}
}

func TestRecompressKeepsHeaderAndRecords(t *testing.T) {
	want := some(2000)
	for _, from := range allCodecs {
		v := build(t, Options{Codec: from, BaseOffset: 5, Producer: &Producer{ID: 3, Epoch: 2, BaseSequence: 1}}, want)
		for _, to := range allCodecs {
			for _, level := range []int{DefaultLevel, 1, 9} {
				got, err := Recompress(v, to, level)
				if err != nil {
					t.Fatal(err)
				}
				if got.Attributes() != v.Attributes()&^codecMask|Attributes(to) || got.CRC() != got.ComputeCRC() || got.Length() != len(got) ||
					!bytes.Equal(got[atLastDelta:HeaderSize], v[atLastDelta:HeaderSize]) || got.BaseOffset() != 5 {
					t.Errorf("%s to %s: header", from, to)
				}
				if diff := differ(want, read(t, got)); diff != "" {
					t.Errorf("%s to %s: %s", from, to, diff)
				}
			}
		}
	}
}

// The bytes are those that Kafka's own layout gives, so that a change of ours is seen.
func TestGoldenBytes(t *testing.T) {
	b := NewBuilder(Options{Producer: &Producer{ID: 1000, Epoch: 1, BaseSequence: 7}})
	b.Append(1_000, []byte("k"), []byte("v1"), Header{Key: []byte("h"), Value: []byte("x")})
	b.Append(1_005, nil, nil)
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "batch", v, "0000000000000000"+"00000046"+"00000000"+"02"+"a26fbb18"+"0000"+"00000001"+"00000000000003e8"+"00000000000003ed"+
		"00000000000003e8"+"0001"+"00000007"+"00000002"+"1a000000026b0476310202680278"+"0c000a02010100")
	golden(t, "commit marker", Marker(12, 1000, 1, true, 3, 1_000), "000000000000000c"+"00000042"+"00000000"+"02"+"aac37690"+"0030"+"00000000"+
		"00000000000003e8"+"00000000000003e8"+"00000000000003e8"+"0001"+"ffffffff"+"00000001"+"200000000800000001"+"0c000000000003"+"00")
	golden(t, "abort marker", Marker(12, 1000, 1, false, 3, 1_000), "000000000000000c"+"00000042"+"00000000"+"02"+"5efda0d8"+"0030"+"00000000"+
		"00000000000003e8"+"00000000000003e8"+"00000000000003e8"+"0001"+"ffffffff"+"00000001"+"200000000800000000"+"0c000000000003"+"00")
}

func golden(t *testing.T, name string, v View, want string) {
	t.Helper()
	if got := hex.EncodeToString(v); got != want {
		t.Errorf("%s: got\n%s, want\n%s", name, got, want)
	}
}
