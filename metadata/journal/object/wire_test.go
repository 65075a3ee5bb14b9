package object

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/leat-stream/leat/objectstore"
)

// wire is the way between one process and its bucket. It counts requests, and can hold them up or spoil their answers. It
// implements journaltest.Wire.
type wire struct {
	objectstore.Store

	mu      sync.Mutex
	log     []string       // "GET head", "PUT journal/3", …, in the order in which they were sent
	faults  map[int]string // what happens to the n-th PUT from now on: "lose", "drop" or "late"
	puts    int
	stall   string
	stalled bool
	reached chan struct{}
	resumed chan struct{}
	late    []func() // PUTs that are still under way
}

var errAnswerLost = errors.New("connection reset: the answer is lost")

func newWire(s objectstore.Store) *wire { return &wire{Store: s, faults: make(map[int]string)} }

func (w *wire) Stall(kind string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall, w.stalled = kind, true
	w.reached, w.resumed = make(chan struct{}), make(chan struct{})
	return w.reached
}

func (w *wire) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stalled = false
	close(w.resumed)
}

func (w *wire) LosePut(landed bool) {
	fault := "drop"
	if landed {
		fault = "lose"
	}
	w.spoil(1, fault)
}

// spoil makes fault happen to the n-th PUT from now on.
func (w *wire) spoil(n int, fault string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[w.puts+n] = fault
}

// land makes PUTs that are still under way arrive.
func (w *wire) land() {
	w.mu.Lock()
	late := w.late
	w.late = nil
	w.mu.Unlock()
	for _, put := range late {
		put()
	}
}

// sent answers what was sent since the last call.
func (w *wire) sent() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.log, ", ")
	w.log = nil
	return all
}

// send logs a request and holds it up if it must wait.
func (w *wire) send(ctx context.Context, kind, key string) (fault string, err error) {
	w.mu.Lock()
	_, name, _ := strings.Cut(key, "/")
	if dir, digits, ok := strings.Cut(name, "/"); ok && dir == "journal" {
		name = dir + "/" + strings.TrimLeft(digits, "0")
	}
	w.log = append(w.log, kind+" "+name)
	if kind == "PUT" {
		w.puts++
		fault = w.faults[w.puts]
	}
	if !w.stalled || w.stall != "" && w.stall != kind {
		w.mu.Unlock()
		return fault, ctx.Err()
	}
	if w.reached != nil {
		close(w.reached)
		w.reached = nil
	}
	w.stall = ""
	resumed := w.resumed
	w.mu.Unlock()
	select {
	case <-resumed:
		return fault, nil
	case <-ctx.Done():
		return fault, ctx.Err()
	}
}

func (w *wire) Get(ctx context.Context, key string, r objectstore.Range) (objectstore.Object, error) {
	if _, err := w.send(ctx, "GET", key); err != nil {
		return objectstore.Object{}, err
	}
	return w.Store.Get(ctx, key, r)
}

func (w *wire) Put(ctx context.Context, key string, b objectstore.Body, c objectstore.Condition) (objectstore.Version, error) {
	fault, err := w.send(ctx, "PUT", key)
	if err != nil {
		return "", err
	}
	switch fault {
	case "drop":
		return "", fmt.Errorf("put %s: %w", key, errAnswerLost)
	case "late":
		w.mu.Lock()
		defer w.mu.Unlock()
		w.late = append(w.late, func() { w.Store.Put(context.WithoutCancel(ctx), key, b, c) })
		return "", fmt.Errorf("put %s: %w", key, errAnswerLost)
	}
	v, err := w.Store.Put(ctx, key, b, c)
	if fault == "lose" {
		return "", fmt.Errorf("put %s: %w", key, errAnswerLost)
	}
	return v, err
}

func (w *wire) Delete(ctx context.Context, keys ...string) error {
	if _, err := w.send(ctx, "DELETE", keys[0]); err != nil {
		return err
	}
	return w.Store.Delete(ctx, keys...)
}

func (w *wire) List(ctx context.Context, prefix, after string) iter.Seq2[objectstore.Info, error] {
	if _, err := w.send(ctx, "LIST", prefix); err != nil {
		return func(yield func(objectstore.Info, error) bool) { yield(objectstore.Info{}, err) }
	}
	return w.Store.List(ctx, prefix, after)
}
