package group

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

var topicID = state.UUID{0xaa}

// topic makes a topic of four partitions.
func (h *harness) topic() state.UUID {
	h.Helper()
	if _, err := h.d.Do(h.ctx, state.CreateTopic{Topic: topicID, Name: "t", Partitions: 4, ReplicationFactor: 1}); err != nil {
		h.Fatal(err)
	}
	return topicID
}

// positions makes one commit for each metadata, partition i at offset 100+i.
func positions(topic state.UUID, metadata ...string) (list []state.OffsetCommit) {
	for i, m := range metadata {
		list = append(list, state.OffsetCommit{
			TopicPartition: state.TopicPartition{Topic: topic, Partition: int32(i)}, Offset: int64(100 + i), LeaderEpoch: 0, Metadata: m,
		})
	}
	return list
}

func TestCommitsAreCheckedAndReadBack(t *testing.T) {
	inBubble(t, func(h *harness) {
		topic := h.topic()
		told := h.stable("g", 2)
		for name, c := range map[string]struct {
			r    CommitRequest
			want error
		}{
			"member":                  {CommitRequest{Group: "g", Member: told[0].Member, Generation: 1}, nil},
			"old generation":          {CommitRequest{Group: "g", Member: told[0].Member, Generation: 0}, ErrIllegalGeneration},
			"unknown member":          {CommitRequest{Group: "g", Member: "who", Generation: 1}, ErrUnknownMember},
			"nobody, group in use":    {CommitRequest{Group: "g", Generation: -1}, ErrUnknownMember},
			"unknown instance":        {CommitRequest{Group: "g", Member: told[0].Member, Instance: "i", Generation: 1}, ErrUnknownMember},
			"member of no group":      {CommitRequest{Group: "other", Member: "m", Generation: 3}, ErrNoSuchGroup},
			"nobody, no group":        {CommitRequest{Group: "simple", Generation: -1}, nil},
			"nobody, no name":         {CommitRequest{Group: "", Generation: -1}, nil},
			"group id of 1 MiB":       {CommitRequest{Group: strings.Repeat("x", 1<<20), Generation: -1}, ErrInvalidGroupID},
			"member id of 1 MiB":      {CommitRequest{Group: "g", Member: strings.Repeat("x", 1<<20)}, ErrUnknownMember},
			"more than a record gets": {CommitRequest{Group: "simple", Generation: -1}, ErrCommitTooLarge},
		} {
			c.r.Offsets = positions(topic, "", "note")
			if c.want == ErrCommitTooLarge {
				c.r.Offsets = positions(topic, make([]string, 30_000)...)
			}
			if errs, err := h.c.Commit(h.ctx, c.r); !errors.Is(err, c.want) || c.want == nil && (err != nil || errs[0] != nil || errs[1] != nil) {
				h.Errorf("%s: %v, %v; want %v", name, errs, err, c.want)
			}
		}
		got, err := h.c.Offsets(h.ctx, "g", []state.TopicPartition{{Topic: topic, Partition: 1}, {Topic: topic, Partition: 3}})
		h.is(err, nil)
		if got[0].Offset != 101 || got[0].Metadata != "note" || got[1].Offset != -1 || got[1].LeaderEpoch != -1 {
			h.Errorf("read %+v", got)
		}
		if got, err = h.c.Offsets(h.ctx, "g", nil); err != nil || len(got) != 2 {
			h.Errorf("read all: %+v, %v", got, err)
		}
		if got, err = h.c.Offsets(h.ctx, "nobody", []state.TopicPartition{{Topic: topic}}); err != nil || got[0].Offset != -1 {
			h.Errorf("read of an unknown group: %+v, %v", got, err)
		}
		if got, err = h.c.Offsets(h.ctx, "nobody", nil); err != nil || len(got) != 0 {
			h.Errorf("read all of an unknown group: %+v, %v", got, err)
		}
	})
}

func TestOneBadPartitionDoesNotSpoilACommit(t *testing.T) {
	inBubble(t, func(h *harness) {
		topic := h.topic()
		list := positions(topic, "", strings.Repeat("x", 4097), "", "")
		list[2].Partition = 77
		errs, err := h.c.Commit(h.ctx, CommitRequest{Group: "g", Generation: -1, Offsets: list})
		h.is(err, nil)
		for i, want := range []error{nil, ErrMetadataTooLarge, ErrUnknownPartition, nil} {
			h.is(errs[i], want)
		}
		got, err := h.c.Offsets(h.ctx, "g", nil)
		h.is(err, nil)
		if len(got) != 2 || got[0].Partition != 0 || got[1].Partition != 3 {
			h.Errorf("read %+v", got)
		}
	})
}

func TestCommitKeepsTheSession(t *testing.T) {
	inBubble(t, func(h *harness) {
		topic := h.topic()
		told := h.stable("g", 1)
		for range 10 {
			time.Sleep(9 * time.Second)
			_, err := h.c.Commit(h.ctx, CommitRequest{Group: "g", Member: told[0].Member, Generation: 1, Offsets: positions(topic, "")})
			h.is(err, nil)
		}
		h.state("g", "Stable")
	})
}

func TestCommitOfAMemberThatLeftIsRefusedBeforeTheJournalKnows(t *testing.T) {
	inBubble(t, func(h *harness) {
		topic := h.topic()
		told := h.stable("g", 2)
		_, err := h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: told[0].Member}}})
		h.is(err, nil)
		_, err = h.c.Commit(h.ctx, CommitRequest{Group: "g", Member: told[0].Member, Generation: 1, Offsets: positions(topic, "")})
		h.is(err, ErrUnknownMember)
		_, err = h.c.Commit(h.ctx, CommitRequest{Group: "g", Member: told[1].Member, Generation: 1, Offsets: positions(topic, "")})
		h.is(err, nil) // PreparingRebalance
		j := h.goJoin(joinRequest("g", told[1].Member))
		j.wait()
		_, err = h.c.Commit(h.ctx, CommitRequest{Group: "g", Member: told[1].Member, Generation: 2, Offsets: positions(topic, "")})
		h.is(err, ErrRebalanceInProgress) // CompletingRebalance
	})
}

func TestOffsetsOfAbandonedGroupsExpire(t *testing.T) {
	inBubble(t, func(h *harness) {
		topic := h.topic()
		told := h.stable("g", 1)
		_, err := h.c.Commit(h.ctx, CommitRequest{Group: "g", Member: told[0].Member, Generation: 1, Offsets: positions(topic, "")})
		h.is(err, nil)
		_, err = h.c.Leave(h.ctx, LeaveRequest{Group: "g", Members: []Leaver{{Member: told[0].Member}}})
		h.is(err, nil)
		time.Sleep(h.cfg.OffsetsRetention - time.Hour)
		h.state("g", "Empty")
		time.Sleep(2 * time.Hour)
		h.state("g", "Dead")
		if got, err := h.c.Offsets(h.ctx, "g", nil); err != nil || len(got) != 0 {
			h.Errorf("read %+v, %v", got, err)
		}
	})
}
