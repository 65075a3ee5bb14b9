package produce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// numbered is a batch of one record of producer 7, which says which one it is.
func numbered(t testing.TB, epoch int16, sequence int32) []byte {
	o := batch.Options{Producer: &batch.Producer{ID: 7, Epoch: epoch, BaseSequence: sequence}}
	return records(t, fmt.Sprint(epoch, ":", sequence), 1, o)
}

// hand gives one numbered batch for a0 to an agent.
func hand(t testing.TB, p *Producer, epoch int16, sequence int32) *Pending {
	t.Helper()
	pending, err := p.Accept(t.Context(), []Part{part(a0, numbered(t, epoch, sequence))})
	if err != nil {
		t.Fatal(err)
	}
	return pending
}

// want checks the outcome of a pending request of one batch.
func want(t testing.TB, what string, pending *Pending, code state.Code, base int64) {
	t.Helper()
	if got := outcome(t, pending); got.Err != nil || got.Code != code || got.Base != base || got.LogStart < 0 {
		t.Errorf("%s: %+v, want %s at %d", what, got, code, base)
	}
}

// waits checks that a request is not answered while nothing else happens.
func waits(t testing.TB, what string, pending *Pending) {
	t.Helper()
	synctest.Wait()
	select {
	case <-pending.Done():
		t.Errorf("%s does not wait: %+v", what, outcome(t, pending))
	default:
	}
}

// values is what a partition holds, in order.
func (w *world) values(tp state.TopicPartition) []string {
	stored := w.read(tp)
	values := make([]string, len(stored))
	for offset, v := range stored {
		values[offset] = v[:len(v)-len("/0")]
	}
	return values
}

func upTo(n int) (values []string) {
	for i := range n {
		values = append(values, fmt.Sprint("0:", i))
	}
	return values
}

// TestEveryOrderAtTwoAgents hands the batches of one producer to two agents in every order, with and without a commit between:
// all are acknowledged, once and in order.
func TestEveryOrderAtTwoAgents(t *testing.T) {
	cases := 0
	for _, n := range []int{2, 3, 4} {
		for _, order := range permutations(n) {
			for agents := range 1 << n {
				for pauses := range 1 << n {
					if n == 4 && pauses != 0 && pauses != 1<<n-1 {
						continue
					}
					cases++
					synctest.Test(t, func(t *testing.T) { inOrder(t, order, agents, pauses) })
					if t.Failed() {
						t.Fatalf("order %v at agents %b with pauses %b", order, agents, pauses)
					}
				}
			}
		}
	}
	t.Logf("%d cases", cases)
}

func inOrder(t *testing.T, order []int, agents, pauses int) {
	w := newWorld(t)
	two := []*Producer{w.join().producer(), w.join().producer()}
	for _, p := range two {
		run(t, p)
	}
	flight := make([]*Pending, len(order))
	for i, n := range order {
		flight[n] = hand(t, two[agents>>i&1], 0, int32(n))
		if pauses>>i&1 == 1 {
			synctest.Wait() // whatever can be committed is
		}
	}
	began := time.Now()
	for n, pending := range flight {
		want(t, fmt.Sprint(n), pending, state.CodeOK, int64(n))
	}
	if got := w.values(a0); !slices.Equal(got, upTo(len(order))) {
		t.Errorf("stored: %v", got)
	}
	if waited := time.Since(began); waited >= two[0].cfg.PredecessorWait {
		t.Errorf("it took %s", waited)
	}
	for _, p := range two {
		checkEmpty(t, p)
	}
}

// checkEmpty: nothing is left of what an agent had accepted.
func checkEmpty(t testing.TB, p *Producer) {
	t.Helper()
	synctest.Wait() // room is given back after the answer
	b := p.buf
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.lobby
	if b.held != 0 || l.bytes != 0 || l.n.Load() != 0 || len(l.queues) != 0 || len(l.places) != 0 || len(l.tails) != 0 {
		t.Errorf("left: %d held, %d early bytes, %d early, %d queues, %d places, %d tails",
			b.held, l.bytes, l.n.Load(), len(l.queues), len(l.places), len(l.tails))
	}
}

func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, p := range permutations(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	return all
}

// TestAMissingPredecessorIsAnErrorInTime: not a hang, and not before.
func TestAMissingPredecessorIsAnErrorInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.join().producer(func(c *Config) { c.PredecessorWait = 2 * time.Second })
		run(t, p)
		unknown := hand(t, p, 0, 5)
		began := time.Now()
		waits(t, "the unknown one", unknown)
		want(t, "unknown", unknown, state.CodeUnknownProducer, -1)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %s", took)
		}
		want(t, "first", hand(t, p, 0, 0), state.CodeOK, 0)
		began = time.Now()
		for _, late := range []*Pending{hand(t, p, 0, 2), hand(t, p, 0, 3), hand(t, p, 1, 4)} {
			want(t, "gap", late, state.CodeOutOfOrderSequence, -1)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %s", took)
		}
		checkEmpty(t, p)
		if puts := len(w.store.Requests()); puts != 1 {
			t.Errorf("%d objects were stored", puts)
		}
	})
}

// TestOnlyThePredecessorOfANewProducerIsMissing: an id that was given out just now cannot have expired, and its client is not told so,
// neither after the wait nor when its first batch was given up.
func TestOnlyThePredecessorOfANewProducerIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.apply(state.Command{Op: state.AllocateProducerIDs{Count: 1000}})
		p := w.producer(func(c *Config) { c.FlushBytes = 1 << 10 })
		hand(t, p, 0, 0)
		items := p.buf.take(1 << 20)
		follower := hand(t, p, 0, 1)
		p.refuseItems(items, ErrStorage)
		run(t, p)
		want(t, "follower", follower, state.CodeOutOfOrderSequence, -1)
		want(t, "early", hand(t, p, 0, 5), state.CodeOutOfOrderSequence, -1)
	})
}

// TestNothingElseWaitsForAnEarlyBatch: the request's other partitions are committed, and the connection's next requests too, among
// them the predecessor itself.
func TestNothingElseWaitsForAnEarlyBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.producer()
		run(t, p)
		both, err := p.Accept(t.Context(), []Part{part(a0, numbered(t, 0, 1)), part(a1, numbered(t, 0, 0))})
		if err != nil {
			t.Fatal(err)
		}
		waits(t, "the answer", both)
		if got := w.values(a1); len(got) != 1 {
			t.Errorf("the other partition: %v", got)
		}
		other := send(t, p, a0, "another producer")
		if got := outcome(t, other); got.Base != 0 {
			t.Errorf("another producer: %+v", got)
		}
		follower := hand(t, p, 0, 2)
		waits(t, "the follower", follower)
		first := hand(t, p, 0, 0)
		want(t, "predecessor", first, state.CodeOK, 1)
		got, err := both.Wait(t.Context())
		if err != nil || got[0].Base != 2 || got[1].Base != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		want(t, "follower", follower, state.CodeOK, 3)
		if calls := len(w.commits()); calls != 3 {
			t.Errorf("%d commits: the early ones belong into the object of their predecessor", calls)
		}
	})
}

// TestALaggingReplicaRefusesNothing is rule R7: what the local state lacks is looked up before it is an error.
func TestALaggingReplicaRefusesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		here, there := w.join(), w.join()
		a, b := here.producer(), there.producer()
		run(t, a)
		run(t, b)
		there.lag(true)
		want(t, "first", hand(t, a, 0, 0), state.CodeOK, 0)
		began := time.Now()
		second := hand(t, b, 0, 1)
		waits(t, "the second", second)
		want(t, "second", second, state.CodeOK, 1)
		if took := time.Since(began); took != b.cfg.PredecessorWait {
			t.Errorf("it took %s", took)
		}
		want(t, "third", hand(t, a, 0, 2), state.CodeOK, 2)
		fourth := hand(t, b, 0, 3)
		waits(t, "the fourth", fourth)
		began = time.Now()
		there.lag(false)
		want(t, "fourth", fourth, state.CodeOK, 3)
		if took := time.Since(began); took != 0 {
			t.Errorf("it waited another %s", took)
		}

		there.stale, there.lags = metadata.ErrUnavailable, true
		fifth := hand(t, b, 0, 5)
		if got := outcome(t, fifth); !errors.Is(got.Err, metadata.ErrNotApplied) || got.Base != -1 {
			t.Errorf("without a fresh look: %+v", got)
		}
		checkEmpty(t, b)
	})
}

// TestNoCommitIsMissedOnTheWayIntoTheLobby: the predecessor is committed after the look at the state, and before the batch is where
// changes are noticed.
func TestNoCommitIsMissedOnTheWayIntoTheLobby(t *testing.T) {
	for name, others := range map[string][]int32{"alone": nil, "beside others": {5, 7}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				here := w.join()
				a, b := w.producer(), here.producer()
				run(t, a)
				run(t, b)
				for _, n := range others {
					waits(t, "another", hand(t, b, 0, n))
				}
				here.mu.Lock()
				here.looked = func() {
					want(t, "first", hand(t, a, 0, 0), state.CodeOK, 0)
					synctest.Wait() // the change has been noticed
				}
				here.mu.Unlock()
				began := time.Now()
				want(t, "second", hand(t, b, 0, 1), state.CodeOK, 1)
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestWhatIsOnItsWayIsNoMissingPredecessor: a client's pipelined batches go into one object, without a look at who is early.
func TestWhatIsOnItsWayIsNoMissingPredecessor(t *testing.T) {
	w := newWorld(t)
	p := w.producer()
	for n := range int32(40) {
		hand(t, p, 0, n)
	}
	hand(t, p, 0, 0) // a repetition does not make the next one early
	hand(t, p, 0, 40)
	hand(t, p, 1, 0)
	hand(t, p, 0, 41) // nor does a new epoch make an old one wait
	hand(t, p, 1, 1)
	if n := p.buf.lobby.waited.Load(); n != 0 {
		t.Errorf("%d were early", n)
	}
	hand(t, p, 1, 3)
	if n := p.buf.lobby.waited.Load(); n != 1 {
		t.Errorf("%d were early", n)
	}
}

// TestAnEarlyBatchIsAcceptedWhenItStopsWaiting is rule R6: the accept index is not that of its arrival.
func TestAnEarlyBatchIsAcceptedWhenItStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join().producer(), w.producer()
		run(t, a)
		run(t, b)
		var accepted []uint64
		w.before = func(_ uint64, ops []state.Op) error {
			for _, r := range ops[0].(state.CommitObject).Runs {
				accepted = append(accepted, r.AcceptIndex)
			}
			return nil
		}
		second := hand(t, b, 0, 1)
		waits(t, "the second", second)
		want(t, "first", hand(t, a, 0, 0), state.CodeOK, 0)
		want(t, "second", second, state.CodeOK, 1)
		w.mu.Lock()
		defer w.mu.Unlock()
		if want := []uint64{w.index - 1}; !slices.Equal(accepted, want) {
			t.Errorf("accepted at %v, want %v", accepted, want)
		}
	})
}

// TestATopicMadeAgainGoesOnWhereItWas is rule R6: the producer's client counts by name, and the first one to come may not be the first.
func TestATopicMadeAgainGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.producer()
		run(t, p)
		want(t, "before", hand(t, p, 0, 0), state.CodeOK, 0)
		again := state.TopicPartition{Topic: state.UUID{9}}
		w.mu.Lock()
		w.apply(state.Command{Op: state.DeleteTopic{Topic: a0.Topic}},
			state.Command{Op: state.CreateTopic{Topic: again.Topic, Name: "t0", Partitions: 1}})
		w.mu.Unlock()
		handOver := func(sequence int32) *Pending {
			pending, err := p.Accept(t.Context(), []Part{part(again, numbered(t, 0, sequence))})
			if err != nil {
				t.Fatal(err)
			}
			return pending
		}
		began := time.Now()
		third, first, gap, second := handOver(12), handOver(10), handOver(14), handOver(11)
		waits(t, "the first", first)
		want(t, "first", first, state.CodeOK, 0)
		want(t, "second", second, state.CodeOK, 1)
		want(t, "third", third, state.CodeOK, 2)
		want(t, "with a gap", gap, state.CodeOutOfOrderSequence, -1)
		if took := time.Since(began); took != p.cfg.PredecessorWait {
			t.Errorf("it took %s", took)
		}
		want(t, "in order", handOver(13), state.CodeOK, 3)
	})
}

func TestADeletedTopicEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.producer()
		run(t, p)
		early := hand(t, p, 0, 1)
		waits(t, "it", early)
		began := time.Now()
		w.mu.Lock()
		w.apply(state.Command{Op: state.DeleteTopic{Topic: a0.Topic}})
		w.mu.Unlock()
		if got := outcome(t, early); got.Code != state.CodeUnknownTopic || time.Since(began) != 0 {
			t.Errorf("%+v after %s", got, time.Since(began))
		}
	})
}

// TestANewEpochElsewhereFences: a client that begins a new epoch (KIP-360) at one agent fences what another one still holds of it,
// with the error that Kafka gives.
func TestANewEpochElsewhereFences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.producer(), w.join().producer()
		run(t, b)
		want(t, "0", hand(t, b, 0, 0), state.CodeOK, 0)
		one, two := hand(t, a, 0, 1), hand(t, a, 0, 2) // a does not run yet: they stay in its buffer
		early := hand(t, a, 0, 4)
		next := hand(t, b, 1, 1) // early: its epoch has not begun
		waits(t, "the next of the epoch", next)
		want(t, "epoch 1", hand(t, b, 1, 0), state.CodeOK, 1)
		want(t, "next of the epoch", next, state.CodeOK, 2)
		run(t, a)
		for _, fenced := range []*Pending{one, two, early, hand(t, a, 0, 3)} {
			want(t, "fenced", fenced, state.CodeInvalidEpoch, -1)
		}
		want(t, "on", hand(t, a, 1, 2), state.CodeOK, 3)
		if got := w.values(a0); !slices.Equal(got, []string{"0:0", "1:0", "1:1", "1:2"}) {
			t.Error(got)
		}
	})
}

// TestARefusedPredecessorTakesItsFollowersAlong: they are refused at commit, and accepted when all of them are sent again.
func TestARefusedPredecessorTakesItsFollowersAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.producer(func(c *Config) { c.FlushBytes = 1 << 10 })
		lost := hand(t, p, 0, 0)
		items := p.buf.take(1 << 20) // its object could not be stored
		follower := hand(t, p, 0, 1)
		p.refuseItems(items, ErrStorage)
		if got := outcome(t, lost); !errors.Is(got.Err, ErrStorage) {
			t.Errorf("%+v", got)
		}
		run(t, p)
		want(t, "follower", follower, state.CodeUnknownProducer, -1)
		retried := hand(t, p, 0, 1) // whichever order it comes in
		want(t, "again", hand(t, p, 0, 0), state.CodeOK, 0)
		want(t, "follower again", retried, state.CodeOK, 1)
	})
}

func TestEarlyBatchesAreBounded(t *testing.T) {
	size := int64(len(numbered(t, 0, 1)))
	tests := map[string]struct {
		change func(*lobby)
		fit    int
	}{
		"count":      {func(l *lobby) { l.mostBatches = 3 }, 3},
		"of stream":  {func(l *lobby) { l.mostOfStream = 4 }, 4},
		"bytes":      {func(l *lobby) { l.mostBytes = 3*size - 1 }, 2},
		"one anyway": {func(l *lobby) { l.mostBytes = size - 1 }, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.producer()
				tt.change(&p.buf.lobby)
				run(t, p)
				var waiting []*Pending
				for n := range tt.fit {
					waiting = append(waiting, hand(t, p, 0, int32(n+1)))
				}
				for _, pending := range waiting {
					waits(t, "one with a place", pending)
				}
				began := time.Now()
				got := outcome(t, hand(t, p, 0, 9))
				if !errors.Is(got.Err, errCrowded) || !errors.Is(got.Err, metadata.ErrNotApplied) || time.Since(began) != 0 {
					t.Errorf("one without: %+v after %s", got, time.Since(began))
				}
				if got := outcome(t, send(t, p, a0, "not early")); got.Err != nil {
					t.Errorf("%+v", got)
				}
				want(t, "predecessor", hand(t, p, 0, 0), state.CodeOK, 1)
				for n, pending := range waiting {
					want(t, "follower", pending, state.CodeOK, int64(n+2))
				}
				checkEmpty(t, p)
			})
		})
	}
}

// TestTheLineForgetsWhoIsGone: however many come and go while one waits.
func TestTheLineForgetsWhoIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.producer()
		run(t, p)
		other := batch.Options{Producer: &batch.Producer{ID: 8, BaseSequence: 5}}
		if _, err := p.Accept(t.Context(), []Part{part(a1, records(t, "x", 1, other))}); err != nil {
			t.Fatal(err)
		}
		for n := range int32(200) {
			early := hand(t, p, 0, 2*n+1)
			want(t, "predecessor", hand(t, p, 0, 2*n), state.CodeOK, int64(2*n))
			want(t, "early", early, state.CodeOK, int64(2*n+1))
		}
		if n := len(p.buf.lobby.line); n > 3*earlyOfStream {
			t.Errorf("%d in line", n)
		}
	})
}

// TestTheEndReleasesEarlyBatches: draining and stopping answer them at once, as certainly not applied.
func TestTheEndReleasesEarlyBatches(t *testing.T) {
	ends := map[string]func(t *testing.T, p *Producer, stop func() error){
		"drain": func(t *testing.T, p *Producer, stop func() error) {
			if err := p.Drain(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"stop": func(t *testing.T, _ *Producer, stop func() error) { _ = stop() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.producer()
				stop := run(t, p)
				ctx, cancel := context.WithCancel(t.Context())
				early, err := p.Accept(ctx, []Part{part(a0, numbered(t, 0, 1)), part(a1, numbered(t, 0, 0))})
				if err != nil {
					t.Fatal(err)
				}
				cancel() // the connection is gone: that changes nothing
				waits(t, "it", early)
				began := time.Now()
				end(t, p, stop)
				got, err := early.Wait(t.Context())
				if err != nil || !errors.Is(got[0].Err, metadata.ErrNotApplied) || got[1].Err != nil || time.Since(began) != 0 {
					t.Errorf("%+v, %v after %s", got, err, time.Since(began))
				}
				checkEmpty(t, p)
			})
		})
	}
}
