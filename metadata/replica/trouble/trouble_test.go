package trouble

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// watched runs a test of a watch in virtual time; lines answers what was logged since it was last asked.
func watched(t *testing.T, test func(w *Watch, lines func() []string)) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		w := New(slog.New(slog.NewTextHandler(&b, nil)), "it lasts", "it is over")
		test(w, func() []string {
			synctest.Wait()
			defer b.Reset()
			return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")[:strings.Count(b.String(), "\n")]
		})
		w.Stop()
	})
}

func TestWhatIsOverSoonIsNeverMentioned(t *testing.T) {
	watched(t, func(w *Watch, lines func() []string) {
		for range 1000 {
			w.Begin(time.Now())
			time.Sleep(1900 * time.Millisecond)
			w.End()
		}
		time.Sleep(time.Hour)
		if got := lines(); len(got) != 0 {
			t.Errorf("logged %q", got)
		}
	})
}

func TestWhatLastsIsSaidSoonAndSeldomAndOnceMoreWhenItIsOver(t *testing.T) {
	watched(t, func(w *Watch, lines func() []string) {
		w.Begin(time.Now(), "entry", 7)
		w.Fail(errors.New("no way"))
		time.Sleep(2100 * time.Millisecond)
		got := lines()
		if len(got) != 1 || !strings.Contains(got[0], "level=WARN") || !strings.Contains(got[0], "it lasts") ||
			!strings.Contains(got[0], "lasts=2s entry=7") || !strings.Contains(got[0], "no way") {
			t.Errorf("after 2 s: %q", got)
		}
		for range 600 { // it is tried again and again
			time.Sleep(time.Second)
			w.Begin(time.Now(), "entry", 8)
			w.Fail(errors.New("no way"))
		}
		if got := lines(); len(got) != 10 || !strings.Contains(got[9], "entry=8") {
			t.Errorf("in ten minutes: %d lines, %q", len(got), got)
		}
		w.End()
		w.End()
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "level=INFO") || !strings.Contains(got[0], "it is over") {
			t.Errorf("at the end: %q", got)
		}
		w.Begin(time.Now().Add(-3 * time.Second)) // noticed late
		if got := lines(); len(got) != 1 {
			t.Errorf("at once: %q", got)
		}
		w.Stop()
		time.Sleep(time.Hour)
		if got := lines(); len(got) != 0 {
			t.Errorf("after it was stopped: %q", got)
		}
	})
}
