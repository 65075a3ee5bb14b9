// Package reply is where the answer to one request goes when somebody else, sometime, gives it.
//
// Answering must never block whoever answers, and must never wait for who asked.
package reply

import "context"

// To is one request's answer to be. Only the first answer counts. It is safe for concurrent use.
type To[T any] struct{ ch chan outcome[T] }

type outcome[T any] struct {
	value T
	err   error
}

// New makes an answer to be.
func New[T any]() *To[T] { return &To[T]{ch: make(chan outcome[T], 1)} }

// Answer gives the answer.
func (t *To[T]) Answer(value T, err error) {
	select {
	case t.ch <- outcome[T]{value, err}:
	default:
	}
}

// Await waits for the answer. ok is false if ctx ended, or gone was closed, and none was given before.
func (t *To[T]) Await(ctx context.Context, gone <-chan struct{}) (value T, ok bool, err error) {
	select {
	case o := <-t.ch:
		return o.value, true, o.err
	case <-ctx.Done():
	case <-gone:
	}
	select {
	case o := <-t.ch:
		return o.value, true, o.err
	default:
		return value, false, nil
	}
}
