package snapshot

import (
	"reflect"
	"testing"

	"github.com/leat-stream/leat/metadata/state"
)

func sample() *manifest {
	return &manifest{
		cluster: [16]byte{1, 2, 3},
		header: state.Header{Level: 1, Index: 77, Time: 99, Hash: 0xfeed, Shards: []state.ShardInfo{
			{ShardID: state.ShardID{Table: state.TableMisc}, Changed: 7},
			{ShardID: state.ShardID{Table: state.TableTopics, Depth: 1, Number: 3}, Changed: 70},
		}},
		places: []placed{{index: 5, id: [16]byte{9}, size: 10, crc: 11}, {index: 77, id: [16]byte{8}, size: 12, crc: 13}},
	}
}

func TestAManifestSurvivesItsEncoding(t *testing.T) {
	want := sample()
	got, err := decodeManifest(want.encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestADamagedManifestIsRefused(t *testing.T) {
	good := sample().encode()
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		if _, err := decodeManifest(bad); err == nil {
			t.Fatalf("byte %d was changed and nobody noticed", i)
		}
		if _, err := decodeManifest(good[:i]); err == nil {
			t.Fatalf("cut after %d bytes and nobody noticed", i)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add(sample().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeManifest(b); err == nil {
			if _, err := decodeManifest(m.encode()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
