package upkeep

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// session applies ops to a real state, one entry each.
type session struct{ st *state.State }

func (s *session) Do(_ context.Context, ops ...state.Op) ([]state.Result, error) {
	e := state.Entry{Index: s.st.Reader().Index() + 1}
	for _, op := range ops {
		e.Commands = append(e.Commands, state.Command{Time: time.Now().UnixMilli(), Op: op})
	}
	results, _, err := s.st.Apply(e)
	return results, err
}

func (s *session) Ask(_ context.Context, _ metadata.Freshness, read func(state.Reader)) error {
	read(s.st.Reader())
	return nil
}

// write commits one batch of a producer, as object number of session 1.
func (s *session) write(t *testing.T, number uint64, producer int64, sequence int32) state.BatchResult {
	t.Helper()
	results, _, err := s.st.Apply(state.Entry{Index: s.st.Reader().Index() + 1, Commands: []state.Command{{
		Session: state.UUID{1}, Lane: state.LaneObjects, Number: number, Settled: number - 1, Time: time.Now().UnixMilli(),
		Op: state.CommitObject{Size: 1000, Runs: []state.Run{{Topic: state.UUID{2}, AcceptIndex: s.st.Reader().Index(), Batches: []state.Batch{{
			Len: 100, Count: 1, MaxTimestamp: -1, ProducerID: producer, FirstSequence: sequence,
		}}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Batches[0]
}

func TestIdleProducersAreForgottenAndBusyOnesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{st: state.New()}
		setUp := []state.Op{
			state.OpenSession{Session: state.UUID{1}, NodeID: -1, Level: state.Level},
			state.CreateTopic{Topic: state.UUID{2}, Name: "t", Partitions: 1, ReplicationFactor: 1},
			state.AllocateProducerIDs{Count: 10},
		}
		for _, op := range setUp {
			if results, err := s.Do(t.Context(), op); err != nil || results[0].Code != state.CodeOK {
				t.Fatal(results, err)
			}
		}
		cfg := Default()
		idle, busy := int64(1), int64(2)
		s.write(t, 1, idle, 0)
		s.write(t, 2, busy, 0)
		number, sequence := uint64(3), int32(1)
		for range cfg.ProducerIdle/time.Hour - 1 { // time moves on steadily
			time.Sleep(time.Hour)
			s.write(t, number, busy, sequence)
			number, sequence = number+1, sequence+1
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*cfg.Interval+time.Second)
		defer cancel()
		if err := Run(ctx, cfg, s, time.Now, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if r := s.write(t, number, busy, sequence); r.Code != state.CodeOK {
			t.Fatalf("a busy producer was forgotten: %v", r.Code)
		}
		if r := s.write(t, number+1, idle, 1); r.Code != state.CodeUnknownProducer {
			t.Fatalf("an idle producer's next sequence got %v", r.Code)
		}
		if r := s.write(t, number+2, idle, 0); r.Code != state.CodeOK {
			t.Fatalf("R6: an expired producer that begins anew got %v", r.Code)
		}
	})
}
