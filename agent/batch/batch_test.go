package batch

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// now is the time at which the tests run, in milliseconds.
const now = int64(1_700_000_000_000)

// open are the rules of a topic with Kafka's default configs.
var open = Rules{Now: now, MaxBytes: 1 << 20, BeforeMaxMs: math.MaxInt64, AfterMaxMs: 3_600_000}

var allCodecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

type plain struct {
	Timestamp  int64
	Key, Value []byte
	Headers    []Header
}

// some are n records of every shape: null, empty and long fields, headers, times that go back.
func some(n int) []plain {
	records := make([]plain, n)
	for i := range records {
		r := plain{Timestamp: now + int64(i%7) - 3, Key: fmt.Appendf(nil, "key-%d", i), Value: bytes.Repeat([]byte{byte(i), 'v'}, 20+i%300)}
		switch i % 5 {
		case 1:
			r.Key = nil
		case 2:
			r.Value = nil
		case 3:
			r.Key, r.Headers = []byte{}, []Header{{Key: []byte("h"), Value: []byte("1")}, {Key: []byte{}, Value: nil}}
		}
		records[i] = r
	}
	return records
}

func build(t testing.TB, o Options, records []plain) View {
	t.Helper()
	b := NewBuilder(o)
	for _, r := range records {
		b.Append(r.Timestamp, r.Key, r.Value, r.Headers...)
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// differ answers "" for equal records; cmp alone takes seconds for thousands of them.
func differ(want, got []plain) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

// read copies the records out of a batch.
func read(t testing.TB, v View) (records []plain) {
	t.Helper()
	for r, err := range v.Records(0) {
		if err != nil {
			t.Fatal(err)
		}
		if int(r.OffsetDelta) != len(records) {
			t.Fatalf("offset delta %d at %d", r.OffsetDelta, len(records))
		}
		p := plain{Timestamp: v.Timestamp(r), Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
		for h := range r.Headers() {
			p.Headers = append(p.Headers, Header{Key: bytes.Clone(h.Key), Value: bytes.Clone(h.Value)})
		}
		records = append(records, p)
	}
	return records
}

func TestWhatIsBuiltIsValidAndReadBack(t *testing.T) {
	for _, codec := range allCodecs {
		for _, n := range []int{1, 2, 999} {
			t.Run(fmt.Sprintf("%s/%d", codec, n), func(t *testing.T) {
				want := some(n)
				v := build(t, Options{Codec: codec, Producer: &Producer{ID: 7, Epoch: 3, BaseSequence: 40}}, want)
				info, err := Validate(v, open)
				if err != nil {
					t.Fatal(err)
				}
				if info.MaxTimestamp != v.MaxTimestamp() {
					t.Errorf("max timestamp %d, header says %d", info.MaxTimestamp, v.MaxTimestamp())
				}
				if diff := differ(want, read(t, v)); diff != "" {
					t.Error(diff)
				}
				if v.LastSequence() != 40+int32(n)-1 || v.ProducerEpoch() != 3 || v.ProducerID() != 7 || int(v.Count()) != n {
					t.Error("header is wrong")
				}
			})
		}
	}
}
