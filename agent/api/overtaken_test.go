package api

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// holding is a session whose agent may hold back what it commits about groups.
type holding struct {
	*metadata.Session
	w *world
}

// Do implements proof.Door.
func (h holding) Do(ctx context.Context, ops ...state.Op) ([]state.Result, error) {
	h.w.holds.wait(h.ID(), ops[0])
	return h.Session.Do(ctx, ops...)
}

// holds is which agent's next commit of offsets is held back.
type holds struct {
	mu     sync.Mutex
	by     state.UUID // zero: nobody's
	taken  chan struct{}
	letsGo chan struct{}
}

// next holds back the next commit of an agent's: taken is closed when it is held, and it goes on once letGo is called.
func (h *holds) next(by state.UUID) (taken <-chan struct{}, letGo func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by, h.taken, h.letsGo = by, make(chan struct{}), make(chan struct{})
	letsGo := h.letsGo
	return h.taken, func() { close(letsGo) }
}

func (h *holds) wait(by state.UUID, op state.Op) {
	h.mu.Lock()
	if _, ok := op.(state.CommitOffsets); !ok || h.by != by || by.IsZero() {
		h.mu.Unlock()
		return
	}
	h.by = state.UUID{}
	taken, letsGo := h.taken, h.letsGo
	h.mu.Unlock()
	close(taken)
	<-letsGo
}

// commitOf is an OffsetCommit of somebody who is in no group.
func commitOf(version int16, offsets ...int64) *kmsg.OffsetCommitRequest {
	return edited(kmsg.NewPtrOffsetCommitRequest(), func(r *kmsg.OffsetCommitRequest) {
		r.Version, r.Group, r.Generation = version, "g", -1
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = "t"
		for i, offset := range offsets {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset = int32(i), offset
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
	})
}

// committedOffsets is what the group has in the journal.
func (w *world) committedOffsets() (offsets []int64) {
	must(w.t, w.replica.Ask(w.ctx, metadata.Fresh(), func(r state.Reader) {
		for _, o := range r.Offsets("g") {
			offsets = append(offsets, o.Offset)
		}
	}))
	return offsets
}

func (s *server) commits(req *kmsg.OffsetCommitRequest, want *kerr.Error) {
	s.t.Helper()
	for _, p := range s.ask(req).(*kmsg.OffsetCommitResponse).Topics[0].Partitions {
		if got := errorName(p.ErrorCode); want == nil && p.ErrorCode != 0 || want != nil && p.ErrorCode != want.Code {
			s.t.Errorf("partition %d: %s, want %v", p.Partition, got, want)
		}
	}
}

// TestAnOvertakenCommitIsRefusedAndItsClientMayTryAgain: two agents, and a client that gives one up and goes to the other.
func TestAnOvertakenCommitIsRefusedAndItsClientMayTryAgain(t *testing.T) {
	tw := newTwins(t)
	tw.near.create("t", 3)
	for _, version := range []int16{2, 9} {
		base := 1000 * int64(version)
		tw.near.commits(commitOf(version, base), nil)
		taken, letGo := tw.world.holds.next(tw.near.Session.ID())
		late := tw.near.begin(commitOf(version, base+10, base+1))
		answer := make(chan *kmsg.OffsetCommitResponse, 1)
		go func() { answer <- late().Message.(*kmsg.OffsetCommitResponse) }()
		<-taken
		tw.far.commits(commitOf(version, base+20), nil)
		letGo()
		for _, p := range (<-answer).Topics[0].Partitions { // also the one that nobody overtook
			if p.ErrorCode != kerr.CoordinatorLoadInProgress.Code {
				t.Errorf("version %d, partition %d: %s", version, p.Partition, errorName(p.ErrorCode))
			}
		}
		if got := tw.world.committedOffsets(); got[0] != base+20 {
			t.Errorf("version %d: offsets are %d", version, got)
		}
		tw.near.commits(commitOf(version, base+10, base+1), nil) // it is meant: the client may also go back
		if got := tw.world.committedOffsets(); got[0] != base+10 || got[1] != base+1 {
			t.Errorf("version %d: offsets are %d", version, got)
		}
	}
}

// TestKgoTriesAnOvertakenCommitAgain as Java's commitSync does: it still waits for the answer, so it still means it.
func TestKgoTriesAnOvertakenCommitAgain(t *testing.T) {
	tw, b := newTwins(t), newBalancer(t)
	b.front(tw, tw.near, time.Hour)
	tw.world.run(b.run)
	tw.near.create("t", 1)
	cl := client(t, kgo.SeedBrokers(b.Addr().String()))
	taken, letGo := tw.world.holds.next(tw.near.Session.ID())
	answer, req := make(chan error, 1), commitOf(10, 10)
	must(t, tw.world.replica.Ask(t.Context(), metadata.Local(), func(r state.Reader) {
		topic, _ := r.TopicByName("t")
		req.Topics[0].TopicID = topic.ID
	}))
	go func() {
		resp, err := req.RequestWith(t.Context(), cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		answer <- err
	}()
	<-taken
	tw.far.commits(commitOf(8, 20), nil)
	letGo()
	must(t, <-answer)
	if got := tw.world.committedOffsets(); got[0] != 10 {
		t.Errorf("offsets are %d", got)
	}
}
