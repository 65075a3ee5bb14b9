package fetch

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata/state"
)

// Watch yields the changes that the world notes.
func (w *world) Watch(ctx context.Context, _ uint64) iter.Seq2[state.Change, error] {
	return func(yield func(state.Change, error) bool) {
		for {
			select {
			case c := <-w.changes:
				if c.Kind == 0 {
					yield(c, errInjected)
					return
				}
				if !yield(c, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// watching starts what wakes long polls.
func (w *world) watching(f *Fetcher) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.waiting.Run(ctx, w, 0) }()
	w.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// registered answers how many polls and partitions the register holds.
func (w *Waiters) registered() (polls, partitions int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all), len(w.polls)
}

func TestLongPollsWaitAsLongAsKafkas(t *testing.T) {
	one := plainBatch(t, 1, 3000, 1)
	tests := map[string]struct {
		partitions []Want
		min        int64
		wait       time.Duration
		took       time.Duration
	}{
		"at the end":                        {[]Want{want(a0, 1, mib)}, 1, 500 * time.Millisecond, 500 * time.Millisecond},
		"at the end, nothing demanded":      {[]Want{want(a0, 1, mib)}, 0, 500 * time.Millisecond, 0},
		"data is there":                     {[]Want{want(a0, 0, mib)}, 1, 500 * time.Millisecond, 0},
		"data in the second":                {[]Want{want(a0, 1, mib), want(a1, 0, mib)}, 1, 500 * time.Millisecond, 0},
		"too little":                        {[]Want{want(a0, 0, mib)}, mib, 500 * time.Millisecond, 500 * time.Millisecond},
		"two are enough together":           {[]Want{want(a0, 0, mib), want(a1, 0, mib)}, 6000, time.Second, 0},
		"no more than its limit counts":     {[]Want{want(a0, 0, 100)}, 1000, time.Second, time.Second},
		"out of range":                      {[]Want{want(a0, 1, mib), want(a1, 9, mib)}, 1, 500 * time.Millisecond, 0},
		"unknown topic":                     {[]Want{want(state.TopicPartition{Topic: state.UUID{9}}, 0, mib)}, 1, 500 * time.Millisecond, 0},
		"no time":                           {[]Want{want(a0, 1, mib)}, 1, 0, 0},
		"negative time":                     {[]Want{want(a0, 1, mib)}, 1, -time.Millisecond, 0},
		"nothing wanted":                    {nil, 1, 500 * time.Millisecond, 0},
		"the agent's own bound on the time": {[]Want{want(a0, 1, mib)}, 1, time.Hour, time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.put(run{a0, []batch.View{one}}, run{a1, []batch.View{one}})
				f := w.fetcher(func(c *Config) { c.MaxWait = time.Minute })
				w.watching(f)
				began := time.Now()
				got := f.Fetch(t.Context(), Request{Partitions: tt.partitions, MaxBytes: mib, MinBytes: tt.min, MaxWait: tt.wait})
				if took := time.Since(began); took != tt.took || len(got) != len(tt.partitions) {
					t.Errorf("took %s, want %s; %d answers", took, tt.took, len(got))
				}
				for i, g := range got {
					if g.Err == nil && g.Watermark != 1 || tt.partitions[i].Offset == 0 && g.Err == nil && g.Records.Size() == 0 {
						t.Errorf("%+v", g)
					}
				}
				if polls, partitions := f.waiting.registered(); polls != 0 || partitions != 0 {
					t.Errorf("%d polls and %d partitions are left", polls, partitions)
				}
			})
		})
	}
}

// longPoll starts a fetch that waits for up to a minute; its answer, and when it came, arrive later.
func longPoll(t *testing.T, f *Fetcher, minBytes int64, wants ...Want) chan Got {
	answer := make(chan Got, 1)
	go func() {
		answer <- f.Fetch(t.Context(), Request{Partitions: wants, MaxBytes: mib, MinBytes: minBytes, MaxWait: time.Minute})[0]
	}()
	synctest.Wait()
	return answer
}

func TestAWaitingFetchWakesWhenItsPartitionChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := w.fetcher()
		w.watching(f)
		began := time.Now()
		answer := longPoll(t, f, 1, want(a0, 0, mib), want(a1, 0, mib))
		looks := len(w.asked)
		w.put(run{b0, []batch.View{plainBatch(t, 1, 10, 1)}})
		synctest.Wait()
		if len(answer) != 0 || len(w.asked) != looks {
			t.Fatalf("another partition's change woke it: %d looks, before %d", len(w.asked), looks)
		}
		time.Sleep(time.Second)
		w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 1)}})
		if got := <-answer; got.Err != nil || got.Records.Size() == 0 || time.Since(began) != time.Second {
			t.Errorf("%+v after %s", got, time.Since(began))
		}
	})
}

func TestAWaitingFetchSleepsOnUntilThereIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := w.fetcher()
		w.watching(f)
		answer := longPoll(t, f, 250, want(a0, 0, mib))
		for i := range 3 {
			if len(answer) != 0 {
				t.Fatalf("answered after %d batches", i)
			}
			w.put(run{a0, []batch.View{plainBatch(t, 1, 20, 1)}})
			synctest.Wait()
		}
		if got := <-answer; got.Records.Size() < 250 {
			t.Errorf("%d bytes", got.Records.Size())
		}
	})
}

// TestNoWakeUpIsLost appends between the look that found nothing and the registration.
func TestNoWakeUpIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := w.fetcher()
		w.watching(f)
		w.afterAsk = func(n int) {
			if n == 1 {
				w.put(run{a0, []batch.View{plainBatch(t, 1, 10, 1)}})
				synctest.Wait() // the change is told to those who are registered: nobody
			}
		}
		began := time.Now()
		got := f.Fetch(t.Context(), Request{Partitions: []Want{want(a0, 0, mib)}, MaxBytes: mib, MinBytes: 1, MaxWait: time.Minute})
		if got[0].Records.Size() == 0 || time.Since(began) > 0 {
			t.Errorf("%+v after %s", got[0], time.Since(began))
		}
	})
}

func TestADeletedTopicEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := w.fetcher()
		w.watching(f)
		answer := longPoll(t, f, 1, want(a0, 0, mib))
		w.apply(state.Command{Op: state.DeleteTopic{Topic: topicA}})
		if got := <-answer; !errors.Is(got.Err, ErrUnknownTopic) {
			t.Errorf("%+v", got)
		}
	})
}

func TestAFetchEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := w.fetcher()
		w.watching(f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan []Got, 1)
		go func() {
			done <- f.Fetch(ctx, Request{Partitions: []Want{want(a0, 0, mib)}, MaxBytes: mib, MinBytes: 1, MaxWait: time.Minute})
		}()
		synctest.Wait()
		cancel()
		if got := <-done; len(got) != 1 || got[0].Records.Size() != 0 {
			t.Errorf("%+v", got)
		}
		if polls, partitions := f.waiting.registered(); polls != 0 || partitions != 0 {
			t.Errorf("%d polls and %d partitions are left", polls, partitions)
		}
	})
}

func TestTheEndOfTheMetadataWakesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := w.fetcher()
		ended := make(chan error, 1)
		go func() { ended <- f.waiting.Run(t.Context(), w, 0) }()
		answer := longPoll(t, f, 1, want(a0, 0, mib))
		looks := len(w.asked)
		w.changes <- state.Change{Kind: state.ChangeAll}
		synctest.Wait()
		if len(w.asked) != looks+1 {
			t.Errorf("%d looks after everything may have changed, before %d", len(w.asked), looks)
		}
		w.changes <- state.Change{}
		if err := <-ended; !errors.Is(err, errInjected) {
			t.Error(err)
		}
		synctest.Wait()
		if len(w.asked) != looks+2 {
			t.Errorf("%d looks after the end", len(w.asked))
		}
		<-answer
	})
}
