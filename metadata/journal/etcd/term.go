package etcd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leat-stream/leat/metadata/journal"
)

// Lead implements journal.Journal.
//
// The fence is an append like any other, to the tip that was just read: that it moved the tip is the whole check (J3), since
// the boundary is never above the slot behind the tip.
func (j *Journal) Lead(ctx context.Context, after uint64, body []byte) (journal.Term, error) {
	fence := journal.Entry{Index: after + 1, Kind: journal.KindFence, Body: body}
	rand.Read(fence.Term[:])
	b, err := journal.EncodeEntry(j.cluster, fence)
	if err != nil {
		return nil, fmt.Errorf("lead after %d: %w", after, err)
	}
	e, err := j.look(ctx)
	if err == nil {
		err = e.at(after)
	}
	if err != nil {
		return nil, fmt.Errorf("lead after %d: %w", after, err)
	}
	next := position{fence.Index, fence.Term}
	switch err = j.commit(ctx, e.tip, next, b); {
	case errors.Is(err, errTaken):
		return nil, fmt.Errorf("lead after %d: %w", after, journal.ErrBehind)
	case err != nil:
		return nil, fmt.Errorf("lead after %d: %w: %w", after, journal.ErrUnknown, err)
	}
	return &term{journal: j, fence: fence, tip: next}, nil
}

// term implements journal.Term. tip and over belong to the goroutine that appends.
type term struct {
	journal *Journal
	fence   journal.Entry
	tip     position // of this term's newest entry
	over    bool
}

// Fence implements journal.Term.
func (t *term) Fence() journal.Entry { return t.fence }

// Append implements journal.Term. Whatever etcd says but that it is done is asked again until ctx ends, even that there is no
// space or no permission: giving up would cost the term.
func (t *term) Append(ctx context.Context, body []byte) (journal.Entry, error) {
	e := journal.Entry{Index: t.tip.index + 1, Kind: journal.KindCommands, Term: t.fence.Term, Body: body}
	if t.over {
		return journal.Entry{}, fmt.Errorf("append: %w", journal.ErrFenced)
	}
	b, err := journal.EncodeEntry(t.journal.cluster, e)
	if err != nil {
		return journal.Entry{}, err
	}
	next := position{e.Index, e.Term}
	if err = t.journal.commit(ctx, t.tip, next, b); err != nil {
		t.over = true
		if errors.Is(err, errTaken) {
			return journal.Entry{}, fmt.Errorf("append %d: %w", e.Index, journal.ErrFenced)
		}
		return journal.Entry{}, fmt.Errorf("append %d: %w: %w", e.Index, journal.ErrUnknown, err)
	}
	t.tip = next
	return e, nil
}

// errTaken: another entry has the slot, or another leader began in it; ours is not committed and never will be.
var errTaken = errors.New("the slot is taken")

// commit makes b, an encoded entry, the one at next, iff the journal ends at prev when it lands. nil: it is committed. errTaken:
// it never will be. Any other error: it is not known, because ctx ended, or what etcd holds cannot be understood.
func (j *Journal) commit(ctx context.Context, prev, next position, b []byte) error {
	ops, value := []clientv3.Op(nil), b
	if len(b) > inlineLimit {
		s := stub{length: len(b)}
		rand.Read(s.id[:])
		for i := 0; i*partSize < len(b); i++ {
			part := b[i*partSize : min(len(b), (i+1)*partSize)]
			if err := j.put(ctx, prev, next, nil, clientv3.OpPut(j.keys.part(next.index, s.id, i), string(part))); err != nil {
				return err
			}
		}
		value = s.encode()
	}
	ops = append(ops, clientv3.OpPut(j.keys.entry(next.index), string(value)), clientv3.OpPut(j.keys.tip(), next.encode()))
	return j.put(ctx, prev, next, value, ops...)
}

// put does ops in one transaction iff the journal ends at prev. value is what lands in next's slot with it, or nil if nothing
// does yet.
//
// Success says that it was done. Everything else is settled by a look (J1): the end is still prev, so nothing was done and the
// same is sent again; should the first one land after all, the second one finds the tip moved. The end is next, so it was
// done. The end is another, so somebody led: what the slot holds tells who took it.
func (j *Journal) put(ctx context.Context, prev, next position, value []byte, ops ...clientv3.Op) error {
	var last error
	for number := 0; ; number++ {
		if ctx.Err() != nil {
			return ended(ctx, last)
		}
		r, err := attempt(ctx, number, func(ctx context.Context) (*clientv3.TxnResponse, error) {
			tip := clientv3.Compare(clientv3.Value(j.keys.tip()), "=", prev.encode())
			return j.client.Txn(ctx).If(tip, j.hasHead()).Then(ops...).Commit()
		})
		if err == nil && r.Succeeded {
			return nil
		}
		if err != nil {
			last = worse(last, err)
		}
		done, err := j.settle(ctx, prev, next, value)
		if done || err != nil {
			return err
		}
		if pause(ctx, number) != nil {
			return ended(ctx, last)
		}
	}
}

// settle finds out what became of a put that was not answered with success: whether it was done; if not, it may be sent again.
// errTaken and other errors are as of commit.
func (j *Journal) settle(ctx context.Context, prev, next position, value []byte) (done bool, err error) {
	for number := 0; ; number++ {
		e, err := j.look(ctx, clientv3.OpGet(j.keys.entry(next.index)))
		switch {
		case err == nil:
			return e.became(prev, next, value)
		case ctx.Err() != nil || !retryWhileUnknown(err):
			return false, err
		}
		if pause(ctx, number) != nil {
			return false, ended(ctx, err)
		}
	}
}

// became judges a look whose third answer is the slot of next.
func (e end) became(prev, next position, mine []byte) (done bool, err error) {
	switch slot := value(e.response, 2); {
	case e.tip == prev:
		return false, nil
	case mine == nil:
		return false, errTaken
	case e.tip == next || bytes.Equal(slot, mine):
		return true, nil
	case slot == nil && e.head.Boundary > next.index:
		return false, errors.New("the slot was trimmed meanwhile")
	}
	return false, errTaken // also if the end went back: prev is never the end again
}

// retryWhileUnknown tells that a look failed because of etcd, not because of what it found.
func retryWhileUnknown(err error) bool {
	for _, e := range []error{journal.ErrNoHead, journal.ErrFormat, journal.ErrCorrupt, journal.ErrMismatch} {
		if errors.Is(err, e) {
			return false
		}
	}
	return true
}
