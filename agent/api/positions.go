package api

import (
	"context"

	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/metadata/state"
)

// positions are the partitions of an answer for which an offset is to be read: of all at once, from one state (R9).
type positions struct {
	moments []fetch.Moment
	slots   []slot
}

// slot is where in an answer an offset goes: the topic's place and the partition's within it.
type slot struct{ topic, partition int }

// want asks for the offset at a timestamp.
func (p *positions) want(at slot, topic state.UUID, partition int32, timestamp int64) {
	p.moments = append(p.moments, fetch.Moment{TP: state.TopicPartition{Topic: topic, Partition: partition}, Timestamp: timestamp})
	p.slots = append(p.slots, at)
}

// read calls put with every offset, or why there is none; committed says that none is above the last stable offset.
func (p *positions) read(ctx context.Context, s *Server, committed bool, put func(at slot, found fetch.Position, err error)) {
	if len(p.moments) == 0 {
		return
	}
	found, errs := s.Fetcher.Positions(ctx, p.moments, committed)
	for i, at := range p.slots {
		put(at, found[i], errs[i])
	}
}
