// Package trouble says in the log what lasts: once soon after it began, now and then while it goes on, and once when it is over. What
// is over before anybody would notice is never mentioned. It decides nothing, and must never hold up whom it watches.
package trouble

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	after = 2 * time.Second // trouble that is over sooner is not mentioned
	every = time.Minute     // between two lines about the same trouble
)

// Set is what there may be at a replica.
type Set struct {
	Journal    *Watch // the journal, or the bucket that it is in, once the replica runs: who opens it tells of the start
	Leaderless *Watch // nobody leads
}

// NewSet watches for all of it.
func NewSet(log *slog.Logger) Set {
	return Set{
		Journal:    New(log, "the metadata journal takes long to answer; it is tried again until it does", "the metadata journal is no trouble any more"),
		Leaderless: New(log, "no metadata leader is heard of; asking the other agents, and standing for election", "there is a metadata leader again"),
	}
}

// Stop ends all without a word.
func (s Set) Stop() {
	s.Journal.Stop()
	s.Leaderless.Stop()
}

// Watch is one kind of trouble of one replica. All methods are safe for concurrent use.
type Watch struct {
	log    *slog.Logger
	lasts  string // logged as a warning
	isOver string // logged when it is over, if lasts was

	mu    sync.Mutex // guards all below
	since time.Time  // zero: there is none
	said  bool
	err   error // what the last attempt failed with
	about []any // attributes for the log
	timer *time.Timer
}

// New watches trouble that lasts tells of, with what is done about it; over tells that it is over.
func New(log *slog.Logger, lasts, over string) *Watch {
	return &Watch{log: log, lasts: lasts, isOver: over}
}

// Begin notes that something begins, or began at since, that is trouble if it lasts. If there is some already, it goes on.
func (w *Watch) Begin(since time.Time, about ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.about = about
	if !w.since.IsZero() {
		return
	}
	w.since, w.said, w.err = since, false, nil
	wait := max(time.Until(since.Add(after)), 0)
	if w.timer == nil {
		w.timer = time.AfterFunc(wait, w.say)
		return
	}
	w.timer.Reset(wait)
}

// Fail notes why an attempt failed, after which there will be others.
func (w *Watch) Fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// End notes that what began has come to an end, or that nobody waits for it any more.
func (w *Watch) End() {
	if since, said := w.stop(); said {
		w.log.Info(w.isOver, "lasted", time.Since(since).Round(time.Millisecond))
	}
}

// Stop ends the watch without a word.
func (w *Watch) Stop() { w.stop() }

func (w *Watch) stop() (since time.Time, said bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, said = w.since, w.said && !w.since.IsZero()
	w.since = time.Time{}
	if w.timer != nil {
		w.timer.Stop()
	}
	return since, said
}

// say logs that it lasts. The timer may have fired just before it was stopped, or set anew.
func (w *Watch) say() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		return
	}
	if wait := time.Until(w.since.Add(after)); wait > 0 {
		w.timer.Reset(wait)
		return
	}
	w.said = true
	attributes := append([]any{"since", w.since.UTC().Format(time.RFC3339), "lasts", time.Since(w.since).Round(time.Millisecond)}, w.about...)
	if w.err != nil {
		attributes = append(attributes, "error", w.err)
	}
	w.log.Log(context.Background(), slog.LevelWarn, w.lasts, attributes...)
	w.timer.Reset(every)
}
