package metadata_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
)

// narrow is a service whose journal entries hold little.
type narrow struct {
	*lossy
	limit int
}

func (n narrow) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	if len(state.EncodeEntry(state.Entry{Commands: commands})) > n.limit {
		n.calls.Add(1)
		return nil, fmt.Errorf("%w: %w", metadata.ErrNotApplied, metadata.ErrTooLarge)
	}
	return n.lossy.Do(ctx, commands...)
}

func TestR2ACommandThatFitsNoEntryFailsAloneAndTheLaneGoesOn(t *testing.T) {
	svc := narrow{service(t), 20_000}
	s, _ := session(t, svc, 1)
	svc.lose.Store(3) // resent as before
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			op, large := create(i), i%10 == 3
			if large {
				op = state.CreateTopic{Topic: state.UUID{14: 9, 15: byte(i)}, Name: strings.Repeat("x", 21_000)}
			}
			results, err := s.Do(context.Background(), op)
			switch {
			case large && (!errors.Is(err, metadata.ErrTooLarge) || !errors.Is(err, metadata.ErrNotApplied)):
				t.Errorf("command %d fits nowhere: %v", i, err)
			case !large && (err != nil || results[0].Code != state.CodeOK):
				t.Errorf("command %d beside those that fit nowhere: %v %v", i, results, err)
			}
		})
	}
	wg.Wait()
	results, err := s.Do(t.Context(), create(1000), state.CreateTopic{Name: strings.Repeat("x", 21_000)})
	if !errors.Is(err, metadata.ErrTooLarge) || errors.Is(err, metadata.ErrNotApplied) {
		t.Errorf("one of two fits nowhere, the other was done: %v %v", results, err)
	}
	results, err = s.Do(t.Context(), create(1001))
	if err != nil || results[0].Code != state.CodeOK {
		t.Errorf("afterwards: %v %v", results, err)
	}
}

// commit is of n batches, each in a run of its own, whose fields take as much room as they may.
func commit(n, batches int) state.CommitObject {
	c := state.CommitObject{Attempt: math.MaxUint16, Size: math.MaxUint32}
	for i := range n {
		run := state.Run{
			Topic: state.UUID{0: 1, 8: byte(i >> 16), 9: byte(i >> 8), 10: byte(i)}, Partition: math.MaxInt32 - int32(i&1), Pos: math.MaxUint32 - int64(i&7)<<20,
			AcceptIndex: math.MaxUint64 - uint64(i&1)<<60,
		}
		for k := range batches {
			sign := int64(1 - 2*(k&1)) // what is written as the difference to the one before is large, too
			run.Batches = append(run.Batches, state.Batch{
				Len: math.MaxInt32 - int32(k&1)<<20, Attributes: math.MaxInt16 * int16(sign), Count: math.MaxInt32 - int32(k&1)<<20,
				MaxTimestamp: math.MaxInt64 * sign, ProducerID: math.MaxInt64 - int64(k&1)<<60, ProducerEpoch: math.MaxInt16, FirstSequence: math.MaxInt32 - int32(k&1)<<20,
			})
		}
		c.Runs = append(c.Runs, run)
	}
	return c
}

func TestWhateverASessionTakesFitsAJournalEntry(t *testing.T) {
	var offsets []state.OffsetCommit
	for i := range 100_000 {
		tp := state.TopicPartition{Topic: state.UUID{0: 1, 8: byte(i >> 16), 9: byte(i >> 8), 10: byte(i)}, Partition: math.MaxInt32}
		offsets = append(offsets, state.OffsetCommit{TopicPartition: tp, Offset: math.MaxInt64, LeaderEpoch: math.MaxInt32, Metadata: "m"})
	}
	var members []state.Member
	for i := range 1000 {
		members = append(members, state.Member{
			ID: fmt.Sprint(i), Instance: "i", ClientID: "c", ClientHost: "h", RebalanceTimeout: math.MaxInt32, SessionTimeout: math.MaxInt32,
			Assignment: make([]byte, 4000), Protocols: []state.Protocol{{Name: "range", Metadata: make([]byte, 4000)}, {Name: "p", Metadata: []byte{1}}},
		})
	}
	var configs []state.Config
	for range 100_000 {
		configs = append(configs, state.Config{Name: "n", Value: "v"})
	}
	for _, op := range []state.Op{
		commit(70_000, 1), commit(1000, 180), commit(1, 200_000),
		state.CommitOffsets{Group: "g", Member: "m", Offsets: offsets, Accepted: math.MaxUint64},
		state.WriteGroup{Claim: math.MaxUint64, Group: state.Group{ID: "g", Members: members}},
		state.CreateTopic{Name: "t", Configs: configs}, state.AlterConfigs{Set: configs},
	} {
		hint := state.SizeHint(op)
		size := len(state.EncodeEntry(state.Entry{Commands: []state.Command{{
			Session: state.UUID{15: 1}, Lane: 1, Number: math.MaxUint64, Settled: math.MaxUint64 - 1, Time: math.MaxInt64, Op: op,
		}}}))
		if hint < 1<<20 {
			t.Errorf("%T of %d bytes shows nothing", op, hint)
		}
		// The largest command of one session is taken for 8 MiB, and what goes out beside it, of all sessions, for 1 MiB.
		if most := float64(journal.MaxBody) / (9 << 20); float64(size) > float64(hint)*most {
			t.Errorf("%T takes %d bytes and was taken for %d: more than %.2f times as much", op, size, hint, most)
		}
	}
}

func TestR2AnObjectWhoseCommitFitsNoEntryIsSkipped(t *testing.T) {
	svc := service(t)
	s, _ := session(t, svc, 1)
	many := commit(120_000, 1) // as many tiny batches as an object of 8 MiB holds, each of another partition: 12 MB by the estimate
	for i := range many.Runs {
		many.Runs[i] = state.Run{Topic: state.UUID{0: 1}, Partition: int32(i), Pos: int64(i * 70), AcceptIndex: 1,
			Batches: []state.Batch{{Len: 70, Count: 1, MaxTimestamp: 1, ProducerID: -1}}}
	}
	results, err := s.DoObjects(t.Context(), 1, state.SkipObject{}, many, commit(200_000, 1), state.SkipObject{})
	must(t, err)
	if len(results) != 4 || len(results[1].Batches) != len(many.Runs) {
		t.Errorf("the commit of %d partitions, which fits an entry, was not decided: code %d", len(many.Runs), results[1].Code)
	}
	if results[2].Code != state.CodeInvalid || len(results[2].Batches) != 0 {
		t.Errorf("a commit that fits nowhere: code %d", results[2].Code)
	}
	if results[3].Code != state.CodeOK {
		t.Errorf("the object after it: code %d", results[3].Code)
	}
	results, err = s.DoObjects(t.Context(), 5, state.SkipObject{})
	if err != nil || results[0].Code != state.CodeOK {
		t.Errorf("the next call: %v %v", results, err)
	}
}

// heeding is a service that notes the largest entry that is asked of it.
type heeding struct {
	*lossy
	largest *atomic.Int64
}

func (h heeding) Do(ctx context.Context, commands ...state.Command) ([]state.Result, error) {
	h.largest.Store(max(h.largest.Load(), int64(len(state.EncodeEntry(state.Entry{Commands: commands})))))
	return h.lossy.Do(ctx, commands...)
}

// TestWhatFitsNoEntryIsNotSent: on the way to the leader it could be lost for being too large, again and again, and nobody would say why.
func TestWhatFitsNoEntryIsNotSent(t *testing.T) {
	svc := heeding{service(t), &atomic.Int64{}}
	s, _ := session(t, svc, 1)
	results, err := s.DoObjects(t.Context(), 1, state.SkipObject{}, commit(200_000, 1), state.SkipObject{})
	must(t, err)
	if results[0].Code != state.CodeOK || results[1].Code != state.CodeInvalid || results[2].Code != state.CodeOK {
		t.Errorf("the codes are %v, %v and %v", results[0].Code, results[1].Code, results[2].Code)
	}
	if n := svc.largest.Load(); n > 9<<20 {
		t.Errorf("%d bytes were sent", n)
	}
}

func TestCallsThatAreTooLargeTogetherAreCommittedOneByOne(t *testing.T) {
	svc := service(t)
	large := []state.Command{{Op: state.CreateTopic{Topic: state.UUID{15: 1}, Name: string(bytes.Repeat([]byte("l"), journal.MaxBody-200))}}}
	if size := len(state.EncodeEntry(state.Entry{Commands: large})); size > journal.MaxBody || size < journal.MaxBody-1000 {
		t.Fatalf("%d bytes show nothing", size)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			commands := []state.Command{{Op: state.CreateTopic{Topic: state.UUID{14: 1, 15: byte(i)}, Name: strings.Repeat("s", 1000)}}}
			if i%5 == 4 {
				commands = large
			}
			if _, err := svc.Do(context.Background(), commands...); err != nil {
				t.Errorf("call %d, which fits an entry: %v", i, err)
			}
		})
	}
	wg.Wait()
}
