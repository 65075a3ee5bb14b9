// Package answers bounds the memory of answers on their way to clients, over all connections.
//
//	plan ──► Take ──► read, encode ──► Hold ──► write, to a client that reads as it likes ──► Release
//	         less, if there is little
//
// A fetch takes memory before it reads; when little is left it gets less, and when nothing is left it waits. What comes without asking
// (answers whose size their requests bound) is held all the same, so that fetches get less meanwhile.
//
// Who reads slowly must not starve the others. While less than half of the budget is used, everybody gets what is asked for. Beyond that a
// connection gets no more at once than twice what it has lately read within a second, and those that have not, or not yet, shown that they
// read leave a quarter of the budget to those that have. Who takes long is cut off by package wire when others wait (Wanted); it comes
// again, gets little at a time, and so gets everything.
//
// The package must never know what an answer is made of, let anyone wait who holds something, or refuse what exists already.
package answers

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// quickTime is the time in which a connection shows how much it reads.
	quickTime = time.Second
	// readerRate, in bytes per quickTime, is what a connection must read to count as proven once an answer takes longer than that.
	readerRate = 1 << 20
	// atLeast: nobody is given less than so many bytes, unless that is all it wants or more than an eighth of the budget. It is the
	// largest batch by default (max.message.bytes), so that one batch fits, which every fetch answers.
	atLeast = 1 << 20
)

// Budget is the memory of all answers, in bytes. What was taken is at most the limit. Beyond it goes only what is held and was not taken, and
// while it does, nobody gets anything:
//
//   - answers that no fetch took memory for, a connection's one after the other;
//   - a batch of more than 1 MiB, one of which a fetch answers whatever was granted;
//   - what answers keep alive of the cache's chunks. Fetches that had plenty, whose grants are together half of the limit at most, may keep
//     four times what they were granted (package fetch). It counts here also while the cache would hold it anyway.
//
// Two queues, first come first served but for the quarter that the unproven may not have. A connection waits for one answer at a time, so
// they are bounded by the number of connections.
type Budget struct {
	limit int64
	m     *metrics

	mu       sync.Mutex // guards all below, and the accounts
	used     int64
	unproven int64 // of used: taken by accounts that were unproven then
	queues   [2][]*claim
	arrivals uint64 // claims so far
}

// The queues of a Budget.
const (
	unproven = iota
	proven
)

// claim is an account that waits.
type claim struct {
	a       *Account
	most    int64
	number  uint64     // of its arrival
	granted chan int64 // capacity 1
}

// Account is what one connection holds, of one answer at a time. It is used by the goroutine that has the answer; only a grant to one that
// waits comes from another.
type Account struct {
	b *Budget

	// Guarded by b.mu; its user may read held and scarce.
	held     int64
	unproven bool  // held counts as such
	scarce   bool  // the last grant was less than plenty
	pace     int64 // bytes that it has lately read within quickTime; 0: unproven
}

// New makes a budget of limit bytes and registers its metrics in reg.
func New(limit int64, reg prometheus.Registerer) (*Budget, error) {
	b := &Budget{limit: limit}
	var err error
	b.m, err = newMetrics(reg, b)
	return b, err
}

// Open makes an account that holds nothing.
func (b *Budget) Open() *Account { return &Account{b: b} }

// Take takes up to most bytes for an answer, fewer if there is little left. While nothing is left it waits, for as long as patience and
// until ctx ends, and then answers 0. The account must hold nothing. scarce: it should not come to hold more.
func (a *Account) Take(ctx context.Context, most int64, patience time.Duration) (n int64, scarce bool) {
	n = a.take(ctx, most, patience)
	return n, a.scarce
}

func (a *Account) take(ctx context.Context, most int64, patience time.Duration) int64 {
	b := a.b
	b.mu.Lock()
	if len(b.queues[unproven])+len(b.queues[proven]) == 0 {
		if n, _ := b.grant(a, most); n > 0 {
			b.mu.Unlock()
			return n
		}
	}
	b.m.waits.Inc()
	b.arrivals++
	q := &claim{a: a, most: most, number: b.arrivals, granted: make(chan int64, 1)}
	class := a.class()
	b.queues[class] = append(b.queues[class], q)
	b.serve()
	b.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case n := <-q.granted:
		return n
	case <-timer.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case n := <-q.granted: // it came at the same moment
		return n
	default:
	}
	b.queues[class] = slices.DeleteFunc(b.queues[class], func(other *claim) bool { return other == q })
	b.serve()
	b.m.refused.Inc()
	return 0
}

// class is the queue that a waits in; b.mu is held.
func (a *Account) class() int {
	if a.pace == 0 {
		return unproven
	}
	return proven
}

// grant gives a up to most bytes, or 0; reserved tells that what is left is for proven ones. b.mu is held.
func (b *Budget) grant(a *Account, most int64) (n int64, reserved bool) {
	n = most
	if a.scarce = b.used+n > b.limit/2; a.scarce {
		share := min((b.limit-b.used)/4, 2*a.pace)
		n = min(most, max(share, min(atLeast, b.limit/8)))
	}
	switch {
	case n < 1 || b.used+n > b.limit:
		return 0, false
	case a.pace == 0 && b.unproven+n > b.limit-b.limit/4:
		return 0, true
	}
	a.unproven = a.pace == 0
	b.add(a, n)
	return n, false
}

// add changes what a holds; b.mu is held.
func (b *Budget) add(a *Account, n int64) {
	a.held += n
	b.used += n
	if a.unproven {
		b.unproven += n
	}
}

// serve grants those that wait, in the order of their arrival; b.mu is held. Who may not have what is reserved holds nobody up who may.
func (b *Budget) serve() {
	blocked := false // the unproven may have nothing
	for {
		class := proven
		if u, p := b.queues[unproven], b.queues[proven]; !blocked && len(u) > 0 && (len(p) == 0 || u[0].number < p[0].number) {
			class = unproven
		}
		if len(b.queues[class]) == 0 {
			return
		}
		q := b.queues[class][0]
		n, reserved := b.grant(q.a, q.most)
		switch {
		case n > 0:
			q.granted <- n
			b.queues[class][0] = nil
			b.queues[class] = b.queues[class][1:]
		case reserved:
			blocked = true
		default:
			return
		}
	}
}

// Hold says how many bytes the answer turned out to have, which may be more than was taken.
func (a *Account) Hold(n int64) {
	if n == a.held {
		return
	}
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.held == 0 {
		a.unproven = a.pace == 0
	}
	less := n < a.held
	if b.add(a, n-a.held); less {
		b.serve()
	}
}

// Held is how many bytes the account holds.
func (a *Account) Held() int64 { return a.held }

// Release gives everything back. read bytes were read by the client in the time took; 0 if the answer did not get there.
func (a *Account) Release(read int64, took time.Duration) {
	if a.held == 0 {
		return
	}
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(a, -a.held)
	switch {
	case read == 0:
	case took <= quickTime:
		a.pace = max(a.pace, read)
	default:
		if a.pace = int64(float64(read) * float64(quickTime) / float64(took)); a.pace < readerRate {
			a.pace = 0
		}
	}
	b.serve()
}

// Wanted tells whether somebody waits.
func (b *Budget) Wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queues[unproven])+len(b.queues[proven]) > 0
}

// Used is how many bytes are held.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
