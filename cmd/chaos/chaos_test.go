package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leat-stream/leat/cmd/chaos/door"
	"github.com/leat-stream/leat/cmd/chaos/history"
)

// The short run: a seed makes the records' producers and members differ only in time, so the faults are written down here.
func TestShortRunKeepsThePromises(t *testing.T) {
	leat := filepath.Join(t.TempDir(), "leat")
	if out, err := exec.Command("go", "build", "-o", leat, "../leat").CombinedOutput(); err != nil {
		t.Fatalf("build leat: %v\n%s", err, out)
	}
	find := func(name string, victim int, length time.Duration) []fault {
		i := slices.IndexFunc(kinds, func(k *kind) bool { return k.name == name })
		return []fault{{kind: kinds[i], victim: victim, length: length, pause: time.Second}}
	}
	faults := [][]fault{
		find("drain and restart", 1, 100*time.Millisecond), // the first: no error is forgiven before something violent
		find("kill the leader", 0, 500*time.Millisecond),
		append(find("pause", 2, 2*time.Second), find("nobody reaches one", 1, 2*time.Second)...),
		find("bucket away from one", 0, 2*time.Second),
	}
	left := faults
	next := func() (now []fault) {
		if len(left) > 0 {
			now, left = left[0], left[1:]
		}
		return now
	}
	// The time is for a machine that does a hundred other things; what is here takes 20 s.
	p := plan{leat: leat, duration: 5 * time.Minute, journal: bucketJournal, agents: 3, calm: 10 * time.Second}
	r, err := run(t.Context(), p, next)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	r.print(&text)
	t.Log("\n" + text.String())
	if !r.passed() {
		t.Error("promises were broken; see above")
	}
	for _, f := range slices.Concat(faults...) {
		if r.notes.faults[f.kind.name] != 1 {
			t.Errorf("%s did not happen", f)
		}
	}
	h := r.history
	for what, n := range map[string]int{
		"acknowledged": h.Acked, "read": h.Read, "given to groups": h.Consumed, "commits": h.Commits, "answers about ends": h.Ends,
		"answers about committed offsets": h.Watched, "elections": r.counted["elections"],
		"connections between agents": r.counted["connections between agents"],
	} {
		if n < 2 {
			t.Errorf("%s: %d, so nothing was shown", what, n)
		}
	}
	if door.KnowsCallers && r.counted["connections to agents from strangers"] == r.counted["connections between agents"] {
		t.Error("of no connection is known which agent opened it")
	}
	if _, err := os.Stat(r.dir); r.passed() && err == nil {
		t.Errorf("%s is left", r.dir)
	}
}

func TestSeedDrawsTheSameFaults(t *testing.T) {
	draw := func(seed uint64, etcd bool) (text string, seen map[string]bool) {
		p := plan{seed: seed, agents: 3, quiet: time.Second, journal: map[bool]string{true: etcdJournal, false: bucketJournal}[etcd]}
		d, err := newDrawing(p)
		if err != nil {
			t.Fatal(err)
		}
		seen = map[string]bool{}
		for range 500 {
			faults := d.next()
			for _, f := range faults {
				seen[f.kind.name] = true
				if f.victim < 0 || f.victim > 2 || f.other < 0 || f.other > 2 || f.other == f.victim || f.length < f.kind.min || f.length > f.kind.max || f.kind.etcd && !etcd {
					t.Fatalf("drew %+v", f)
				}
			}
			if len(faults) == 2 && (!faults[0].kind.violent || !faults[1].kind.beside || faults[0].kind.etcd && faults[1].kind.etcd) {
				t.Fatalf("drew %s beside %s", faults[1], faults[0])
			}
			text += fmt.Sprintln(faults, faults[0].pause)
		}
		return text, seen
	}
	one, seen := draw(1, true)
	again, _ := draw(1, true)
	other, _ := draw(2, true)
	if one != again || one == other {
		t.Error("the faults do not follow from the seed")
	}
	for _, k := range kinds {
		if !seen[k.name] && (door.KnowsCallers || !k.callers) {
			t.Errorf("%s was never drawn", k.name)
		}
	}
	_, seen = draw(1, false)
	if seen["kill a member of etcd"] {
		t.Error("a member of etcd is killed where there is none")
	}
	for only, agents := range map[string]int{"nonsense": 3, "pause a member of etcd": 3, "nobody reaches two": 1} {
		if _, err := newDrawing(plan{agents: agents, quiet: 1, journal: bucketJournal, only: map[string]bool{only: true}}); err == nil {
			t.Errorf("-only %q is accepted", only)
		}
	}
	d, err := newDrawing(plan{agents: 3, quiet: 1, journal: bucketJournal, only: map[string]bool{"pause": true}})
	if err != nil || d.next()[0].kind.name != "pause" {
		t.Error(err)
	}
	if d, err = newDrawing(plan{agents: 3, quiet: 1, journal: etcdJournal, alone: true}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if faults := d.next(); len(faults) != 1 {
			t.Fatalf("drew %v, though each was to be alone", faults)
		}
	}
}

func TestErrorsAreForgivenOnlyAfterWhatIsViolent(t *testing.T) {
	n := newNotebook(io.Discard)
	gentle, rough := fault{kind: &kind{name: "drain"}}, fault{kind: &kind{name: "kill", violent: true}}
	seen := func() bool { return n.seen("somebody", io.EOF) }
	n.begins(gentle)
	if seen() {
		t.Error("forgiven while an agent drains")
	}
	n.ends(gentle, nil)
	n.begins(rough)
	if !seen() {
		t.Error("not forgiven while an agent is dead")
	}
	n.ends(rough, nil)
	if !seen() {
		t.Error("not forgiven just after an agent was dead")
	}
	n.peace = n.peace.Add(-aftermath)
	if seen() {
		t.Error("forgiven for ever")
	}
	if len(n.errors) != 1 || n.errors["somebody: EOF"] != 4 {
		t.Error(n.errors)
	}
}

func TestFalseErrorsAreNeverForgiven(t *testing.T) {
	for _, err := range []error{
		fmt.Errorf("%w: t/0: %w", errRefused, kerr.RequestTimedOut), fmt.Errorf("x: %w", kerr.UnknownTopicOrPartition), &kgo.ErrDataLoss{},
	} {
		c := &crowd{history: history.New(), notes: newNotebook(io.Discard)}
		c.notes.begins(fault{kind: &kind{name: "kill", violent: true}})
		c.saw("somebody", kerr.NotCoordinator)
		if c.history.Broken != 0 {
			t.Error(c.history.Violations)
		}
		if c.saw("somebody", err); c.history.Broken != 1 {
			t.Errorf("%v is forgiven", err)
		}
	}
}

func TestStandstillIsPutDownToTheFaultsAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which no more time passes than is said
		n := newNotebook(io.Discard)
		f := fault{kind: &kind{name: "kill"}}
		early := time.Now()
		n.last = n.last.Add(-time.Minute)
		n.ack(history.Place{}, early.Add(-time.Hour)) // a minute before any fault
		n.begins(f)
		time.Sleep(time.Millisecond)
		n.last = n.last.Add(-20 * time.Second)
		n.ends(f, nil)
		time.Sleep(time.Millisecond)
		n.ack(history.Place{}, early.Add(-10*time.Second)) // 20 seconds across the fault
		n.last = n.last.Add(-30 * time.Second)
		n.ack(history.Place{}, time.Now()) // 30 seconds after it
		if wait := n.waits["kill"].Round(time.Second); wait != 10*time.Second || n.slowest.Round(time.Second) != time.Hour {
			t.Errorf("a record waited %s around the kill, %s at most", wait, n.slowest)
		}
		if got := n.worst["kill"].Round(time.Second); got != 20*time.Second || n.longest.Round(time.Second) != time.Minute {
			t.Errorf("%s around the kill, %s at most", got, n.longest)
		}
	})
}

func TestHurdleDoesWhatItIsToldTo(t *testing.T) {
	var got atomic.Int64
	arrived := make(chan string, 10)
	minio := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Add(1)
		body, _ := io.ReadAll(r.Body)
		arrived <- r.Method + " " + r.Host + r.URL.String() + " " + string(body)
		_, _ = w.Write([]byte("answer"))
	}))
	defer minio.Close()
	h, err := openHurdle(strings.TrimPrefix(minio.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	h.delay = 100 * time.Millisecond
	ask := func(method string) (int, error) {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+h.address+"/leat/key?x=1", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "signed.example.com"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	if status, err := ask("PUT"); status != 200 || err != nil || <-arrived != "PUT signed.example.com/leat/key?x=1 body" {
		t.Error(status, err)
	}
	h.refuse.Store(100)
	if status, _ := ask("PUT"); status != 503 || got.Load() != 1 {
		t.Error(status, got.Load())
	}
	h.refuse.Store(0)
	h.deny.Store(100)
	if status, _ := ask("PUT"); status != 500 || got.Load() != 2 {
		t.Error(status, got.Load())
	}
	<-arrived
	h.deny.Store(0)
	h.late.Store(100)
	if status, err := ask("PUT"); err == nil {
		t.Error("a late PUT is answered with", status)
	}
	if text := <-arrived; text != "PUT signed.example.com/leat/key?x=1 body" {
		t.Error(text)
	}
	if status, err := ask("GET"); status != 200 || err != nil {
		t.Error(status, err)
	}
}

func TestToxiproxyCutsAndOpensAWay(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	toxics, err := startToxiproxy(ctx, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer toxics.process.Kill()
	minio := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer minio.Close()
	w, err := openWay(ctx, "w", toxics, strings.TrimPrefix(minio.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.hurdle.close()
	open := func() bool {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}
		response, err := client.Get("http://" + w.address)
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil
	}
	if !open() {
		t.Error("closed at the beginning")
	}
	for _, closed := range []func(bool) error{
		func(on bool) error { return w.enable(ctx, !on) },
		func(on bool) error {
			if on {
				return w.poison(ctx, "timeout", "downstream", map[string]any{"timeout": 10})
			}
			return w.cure(ctx, "timeout", "downstream")
		},
	} {
		if err := closed(true); err != nil || open() {
			t.Errorf("open, %v", err)
		}
		if err := closed(false); err != nil || !open() {
			t.Errorf("not open again, %v", err)
		}
	}
}
