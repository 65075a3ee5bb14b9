package snapshot

import (
	"context"
	"fmt"
	"hash/crc32"
	"iter"
	"sync"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

// How many shards are read at once, and how many bytes of them are held besides the one that is being restored. A single shard may be
// larger. A shard is about a megabyte.
const (
	shardsAhead = 16
	aheadBytes  = 32 << 20
)

// shards reads the shards of the manifest that head names, several at once, and yields them in its order. The error of one comes in
// its turn, and is the last.
func (m *manifest) shards(ctx context.Context, images Images, head journal.Head) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		var under sync.WaitGroup
		defer under.Wait()
		defer stop()
		type shard struct {
			size int64
			done chan struct{} // closed once body and err are set
			body []byte
			err  error
		}
		var ahead []*shard
		bytes := int64(0) // of those ahead
		for places := m.places; len(places) > 0 || len(ahead) > 0; {
			for len(places) > 0 && len(ahead) < shardsAhead && (len(ahead) == 0 || bytes+int64(places[0].size) <= aheadBytes) {
				p := places[0]
				s := &shard{size: int64(p.size), done: make(chan struct{})}
				under.Go(func() {
					defer close(s.done)
					s.body, s.err = p.read(ctx, images, head)
				})
				places, ahead, bytes = places[1:], append(ahead, s), bytes+s.size
			}
			s := ahead[0]
			<-s.done
			ahead[0], ahead, bytes = nil, ahead[1:], bytes-s.size
			if !yield(s.body, s.err) || s.err != nil {
				return
			}
		}
	}
}

// read reads one shard and compares it with what the manifest says.
func (p placed) read(ctx context.Context, images Images, head journal.Head) ([]byte, error) {
	body, err := images.GetShard(ctx, p.index, p.id)
	if err == nil && (uint32(len(body)) != p.size || crc32.Checksum(body, castagnoli) != p.crc) {
		err = fmt.Errorf("%w: shard %d-%x of snapshot %d", state.ErrCorrupt, p.index, p.id, head.Snapshot)
	}
	return body, err
}
