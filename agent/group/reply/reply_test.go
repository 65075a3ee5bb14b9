package reply

import (
	"context"
	"errors"
	"testing"
)

func TestFirstAnswerCountsAlsoWhenItsGiverIsGone(t *testing.T) {
	gone := make(chan struct{})
	close(gone)
	want := errors.New("first")
	r := New[int]()
	if _, ok, _ := r.Await(context.Background(), gone); ok {
		t.Error("answered by nobody")
	}
	r.Answer(1, want)
	r.Answer(2, nil)
	if v, ok, err := r.Await(context.Background(), gone); v != 1 || !ok || err != want {
		t.Errorf("got %d, %v, %v", v, ok, err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, ok, _ := New[int]().Await(ended, nil); ok {
		t.Error("answered by nobody")
	}
}
