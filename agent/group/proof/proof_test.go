package proof

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// door answers at once, or fails.
type door struct {
	mu    sync.Mutex
	err   error
	looks int
}

func (*door) ID() state.UUID { return state.UUID{} }

func (d *door) Do(context.Context, ...state.Op) ([]state.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return nil, d.err
}

func (d *door) Ask(_ context.Context, f metadata.Freshness, _ func(state.Reader)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.IsFresh() {
		d.looks++
	}
	return d.err
}

// fails makes the door fail from now on, or not if err is nil, and answers how many looks there were since that was last said.
func (d *door) fails(err error) (looks int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	looks, d.err, d.looks = d.looks, err, 0
	return looks
}

const every = 3 * time.Second

// running runs f beside a proof that is needed, or is not.
func running(t *testing.T, needed bool, f func(p *Proof, d *door)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &door{}
		p := New(d, every)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Run(ctx, func() bool { return needed })
		}()
		f(p, d)
		cancel()
		<-done
	})
}

func good(p *Proof) bool {
	ok, _ := p.Look(time.Now())
	return ok
}

func TestProofIsRenewedOnlyWhileItIsNeeded(t *testing.T) {
	for needed, want := range map[bool]int{true: 20, false: 0} {
		running(t, needed, func(p *Proof, d *door) {
			time.Sleep(20*every + time.Millisecond)
			synctest.Wait()
			if n := d.fails(nil); n != want || good(p) != needed {
				t.Errorf("needed %v: %d looks, proven %v", needed, n, good(p))
			}
		})
	}
}

func TestWhatSucceedsIsAProofAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(p *Proof) error
		err  error
		want bool
	}{
		"a commit":         {func(p *Proof) error { _, err := p.Do(context.Background()); return err }, nil, true},
		"a failed commit":  {func(p *Proof) error { _, err := p.Do(context.Background()); return err }, metadata.ErrUnknown, false},
		"a fresh look":     {func(p *Proof) error { return p.Ask(context.Background(), metadata.Fresh(), nil) }, nil, true},
		"a failed look":    {func(p *Proof) error { return p.Ask(context.Background(), metadata.Fresh(), nil) }, metadata.ErrUnavailable, false},
		"a local look":     {func(p *Proof) error { return p.Ask(context.Background(), metadata.Local(), nil) }, nil, false},
		"a look at a time": {func(p *Proof) error { return p.Ask(context.Background(), metadata.At(7), nil) }, nil, false},
	} {
		p := New(&door{err: c.err}, every)
		if err := c.do(p); err != c.err || good(p) != c.want {
			t.Errorf("%s: %v, proven %v", name, err, good(p))
		}
	}
}

func TestProofEndsAndTheTimeWithoutIsCounted(t *testing.T) {
	running(t, true, func(p *Proof, d *door) {
		time.Sleep(every + time.Millisecond)
		synctest.Wait()
		d.fails(metadata.ErrUnavailable)
		time.Sleep(Lifetime*every - 2*time.Millisecond)
		if !good(p) {
			t.Error("proof ended early")
		}
		time.Sleep(2 * time.Millisecond)
		if good(p) {
			t.Error("proof did not end")
		}
		if err := p.Await(context.Background()); !errors.Is(err, ErrNone) {
			t.Errorf("waited for a proof that does not come: %v", err)
		}
		time.Sleep(time.Minute)
		d.fails(nil)
		if err := p.Await(context.Background()); err != nil {
			t.Error(err)
		}
		if ok, deaf := p.Look(time.Now()); !ok || deaf < time.Minute || deaf > time.Minute+4*every {
			t.Errorf("proven %v, without proof for %v", ok, deaf)
		}
	})
}

func TestManyWhoWaitAskForOneLook(t *testing.T) {
	running(t, false, func(p *Proof, d *door) {
		d.fails(metadata.ErrUnavailable)
		for range 100 {
			go func() { _ = p.Await(context.Background()) }()
		}
		time.Sleep(patience)
		if n := d.fails(nil); n > int(patience/pause)+1 {
			t.Errorf("%d looks in %v", n, patience)
		}
		if err := p.Await(context.Background()); err != nil {
			t.Error(err)
		}
		p.Kick() // though the last look was just now
		synctest.Wait()
		if n := d.fails(nil); n != 1 {
			t.Errorf("%d looks", n)
		}
	})
}
