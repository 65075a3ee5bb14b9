package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

// slow keeps shards a round trip away, and notes how many are asked for at once.
type slow struct {
	Images
	shards map[uint64][]byte
	gone   uint64 // is not there; 0: all are

	mu          sync.Mutex
	asked, most int
}

func (s *slow) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked += n
	s.most = max(s.most, s.asked)
}

var errGone = errors.New("no such shard")

func (s *slow) GetShard(ctx context.Context, index uint64, _ [16]byte) ([]byte, error) {
	s.count(1)
	defer s.count(-1)
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if index == s.gone {
		return nil, errGone
	}
	return s.shards[index], nil
}

// place answers a manifest with n shards of size bytes, the i-th of which begins with i.
func place(n, size int) (*manifest, *slow) {
	m, s := &manifest{}, &slow{shards: map[uint64][]byte{}}
	for i := range uint64(n) {
		body := binary.BigEndian.AppendUint64(nil, i+1)
		body = append(body, make([]byte, size-8)...)
		s.shards[i+1] = body
		m.places = append(m.places, placed{index: i + 1, size: uint32(size), crc: crc32.Checksum(body, castagnoli)})
	}
	return m, s
}

// TestShardsAreReadSeveralAtOnce: 64 of them, 20 ms away, take four times 20 ms, and come in their order.
func TestShardsAreReadSeveralAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, images := place(64, 100)
		began, n := time.Now(), uint64(0)
		for body, err := range m.shards(t.Context(), images, journal.Head{}) {
			if n++; err != nil || binary.BigEndian.Uint64(body) != n {
				t.Fatalf("shard %d is %x, %v", n, body[:8], err)
			}
		}
		if took := time.Since(began); n != 64 || took > 80*time.Millisecond || images.most != shardsAhead {
			t.Errorf("%d shards took %v, %d at once", n, took, images.most)
		}
	})
}

func TestLargeShardsAreNotHeldTogether(t *testing.T) {
	for _, test := range []struct{ size, most int }{{10 << 20, 3}, {aheadBytes + 1, 1}} {
		synctest.Test(t, func(t *testing.T) {
			m, images := place(7, test.size)
			n := 0
			for _, err := range m.shards(t.Context(), images, journal.Head{}) {
				if n++; err != nil {
					t.Fatal(err)
				}
			}
			if n != 7 || images.most != test.most {
				t.Errorf("%d shards of %d bytes were read, %d at once, want %d", n, test.size, images.most, test.most)
			}
		})
	}
}

// TestAShardThatCannotBeReadIsTheLast, and nothing goes on behind it: a bubble of synctest fails if it does.
func TestAShardThatCannotBeReadIsTheLast(t *testing.T) {
	for _, test := range []struct {
		spoil func(*slow)
		want  error
	}{
		{func(s *slow) { s.gone = 20 }, errGone},
		{func(s *slow) { s.shards[20][50] = 1 }, state.ErrCorrupt},
		{func(s *slow) { s.shards[20] = s.shards[20][:99] }, state.ErrCorrupt},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, images := place(64, 100)
			test.spoil(images)
			n, failed := 0, error(nil)
			for _, err := range m.shards(t.Context(), images, journal.Head{}) {
				n++
				failed = err
			}
			if n != 20 || !errors.Is(failed, test.want) {
				t.Errorf("%d shards, and %v; want the 20th to be %v", n, failed, test.want)
			}
		})
	}
}
