package shape

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field of a request to something random, arrays to a few elements.
func fill(r *rand.Rand, v reflect.Value, flexible bool) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 1)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(r.Int64() >> (64 - v.Type().Bits()))
	case reflect.Uint16:
		v.SetUint(uint64(uint16(r.Uint32())))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	case reflect.String:
		v.SetString("abcdefghijk"[:r.IntN(10)])
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(r.IntN(256)))
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem(), flexible)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(bytes.Repeat([]byte{7}, r.IntN(200)))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			fill(r, v.Index(i), flexible)
		}
	case reflect.Struct:
		if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
			if flexible && r.IntN(3) == 0 {
				tags.Set(1000+r.Uint32N(9), []byte("tag"))
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" || v.Type().Field(i).Type.Kind() != reflect.Int16 || i > 0 {
				fill(r, v.Field(i), flexible)
			}
		}
	}
}

func TestEveryRequestHasTheShapeKmsgGivesIt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for key := range int16(kmsg.MaxKey + 1) {
		if key >= 4 && key <= 7 { // between brokers, before KRaft
			continue
		}
		for version := int16(0); kmsg.RequestForKey(key) != nil && version <= kmsg.RequestForKey(key).MaxVersion(); version++ {
			for range 20 {
				req := kmsg.RequestForKey(key)
				req.SetVersion(version)
				fill(r, reflect.ValueOf(req).Elem(), req.IsFlexible())
				req.SetVersion(version)
				body := req.AppendTo(nil)
				w := walker{src: body, version: version, flexible: Of(key).Flexible(version)}
				if w.flexible != req.IsFlexible() {
					t.Fatalf("%s %d: flexible %v", Name(key), version, w.flexible)
				}
				if !w.structure(Of(key).fields) || len(w.src) != 0 {
					t.Fatalf("%s version %d: %d of %d bytes left\n%+v\n%x", Name(key), version, len(w.src), len(body), req, body)
				}
				if len(body) > 0 {
					if _, err := Of(key).Check(version, body[:len(body)-1]); !errors.Is(err, ErrMalformed) {
						t.Fatalf("%s version %d passes without its last byte: %v", Name(key), version, err)
					}
				}
			}
		}
	}
}

func TestShapesAreThoseOfTheKmsgInUse(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the generator")
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir+"/gen", "./shapegen").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(dir+"/gen", dir+"/shapes.txt")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(dir + "/shapes.txt")
	if err != nil || string(got) != shapesText {
		t.Fatalf("shapes.txt is not what kmsg's source gives: run go generate ./agent/wire/shape (%v)", err)
	}
}

// Each of these made kmsg's decoder allocate gigabytes or loop for minutes.
func TestShapeRefusesWhatIsAnnouncedButNotThere(t *testing.T) {
	many := binary.AppendUvarint(nil, 1<<32-1)
	zeros := make([]byte, 1<<20)
	for name, c := range map[string]struct {
		key, version int16
		body         []byte
	}{
		"an array as long as the bytes left": {3, 1, append(binary.BigEndian.AppendUint32(nil, 1<<20), bytes.Repeat([]byte{0xff}, 1<<20)...)},
		"an array beyond the bytes left":     {3, 1, binary.BigEndian.AppendUint32(nil, 1<<31-1)},
		"an array of length -2":              {3, 1, binary.BigEndian.AppendUint32(nil, 1<<32-2)},
		"a compact array of 2^32-1":          {3, 12, append(many[:5:5], zeros...)},
		"2^32-1 tags":                        {12, 4, append([]byte{2, 'g', 0, 0, 0, 1, 2, 'm', 0}, many...)},
		"2^32-1 tags in a known tag":         {1, 17, fetchWithTaggedState(many)},
		"a tag longer than the rest":         {12, 4, []byte{2, 'g', 0, 0, 0, 1, 2, 'm', 0, 1, 9, 5, 0}},
		"a varint of six bytes":              {12, 4, []byte{0x80, 0x80, 0x80, 0x80, 0x80, 1}},
		"a string beyond the end":            {12, 0, []byte{0x7f, 0xff, 'g'}},
		"a string of length -2":              {12, 0, []byte{0xff, 0xfe, 'g'}},
		"records beyond the end":             {0, 9, append([]byte{0, 0, 1, 0, 0, 0, 0, 2, 2, 't', 2, 0, 0, 0, 0}, many...)},
		"nothing at all":                     {0, 9, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if n := testing.AllocsPerRun(1, func() { _, err = Of(c.key).Check(c.version, c.body) }); n > 10 {
				t.Errorf("%v allocations", n)
			}
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v", err)
			}
		})
	}
}

// fetchWithTaggedState is a Fetch 17 whose tagged ReplicaState ends in a tag section that is tags.
func fetchWithTaggedState(tags []byte) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(17)
	body := req.AppendTo(nil)
	state := append(make([]byte, 12), tags...)
	return append(append(body[:len(body)-1], 1, 1, byte(len(state))), state...)
}

func TestMemoryOfADecodedRequestIsCounted(t *testing.T) {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(12)
	for range 100_000 {
		req.Topics = append(req.Topics, kmsg.NewMetadataRequestTopic())
	}
	body := req.AppendTo(nil)
	memory, err := Of(3).Check(12, body)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(reflect.TypeFor[kmsg.MetadataRequestTopic]().Size()) * 100_000
	if memory < size || memory > 2*size {
		t.Errorf("counted %d, takes %d", memory, size)
	}
}

func FuzzShape(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, key := range []int16{0, 1, 2, 3, 8, 9, 11, 14, 18, 19, 44, 75} {
		req := kmsg.RequestForKey(key)
		req.SetVersion(req.MaxVersion())
		fill(r, reflect.ValueOf(req).Elem(), true)
		req.SetVersion(req.MaxVersion())
		f.Add(key, req.MaxVersion(), req.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		s, req := Of(key), kmsg.RequestForKey(key)
		if s == nil || version < 0 || version > req.MaxVersion() {
			return
		}
		memory, err := s.Check(version, body)
		if err != nil {
			return
		}
		if memory > 200*int64(len(body)) {
			t.Fatalf("%d bytes decode into %d", len(body), memory)
		}
		req.SetVersion(version)
		_ = req.ReadFrom(body) // whatever it says, it neither panics nor takes long
	})
}
