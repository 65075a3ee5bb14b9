package fake_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

func newFake(t *testing.T) (*fake.Store, objectstore.Keys) {
	t.Helper()
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	return fake.New(keys), keys
}

func body(s string) objectstore.Body { return objectstore.NewBody([]byte(s)) }

// holds answers the content of key behind the fake's back, "" if there is none.
func holds(t *testing.T, s *fake.Store, key string) string {
	t.Helper()
	o, err := s.Objects().Get(t.Context(), key, objectstore.Range{})
	if errors.Is(err, objectstore.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(o.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPairedFaultsLookTheSameAndDiffer(t *testing.T) {
	s, keys := newFake(t)
	s.Script(
		fake.Rule{Op: fake.Put, Key: "*/journal/*", Fault: fake.Lose},
		fake.Rule{Op: fake.Put, Key: "*/journal/*", Fault: fake.LoseAnswer, Err: objectstore.ErrThrottled},
		fake.Rule{Op: fake.Put, Key: "*/journal/*", Fault: fake.Refuse},
	)
	for i, want := range []string{"", "x", ""} {
		key := keys.Journal(uint64(i))
		_, err := s.Put(t.Context(), key, body("x"), objectstore.IfAbsent())
		if !errors.Is(err, fake.ErrInjected) || errors.Is(err, objectstore.ErrLost) {
			t.Errorf("%d: %v", i, err)
		}
		if errors.Is(err, objectstore.ErrNotApplied) != (i == 2) || errors.Is(err, objectstore.ErrThrottled) != (i == 1) {
			t.Errorf("%d: %v", i, err)
		}
		if got := holds(t, s, key); got != want {
			t.Errorf("%d: the bucket has %q, want %q", i, got, want)
		}
	}
	if _, err := s.Put(t.Context(), keys.Journal(3), body("x"), objectstore.IfAbsent()); err != nil {
		t.Errorf("after the script: %v", err)
	}
}

func TestALatePutLandsUnderItsConditionAsOftenAsAsked(t *testing.T) {
	s, keys := newFake(t)
	key := keys.Journal(7)
	s.Script(fake.Rule{Op: fake.Put, Fault: fake.Late})
	data := []byte("first")
	if _, err := s.Put(t.Context(), key, objectstore.NewBody(data), objectstore.IfAbsent()); err == nil {
		t.Fatal("no error")
	}
	copy(data, "XXXXX")
	late := s.Pending()[0]
	if holds(t, s, key) != "" {
		t.Fatal("it landed already")
	}
	if err := late.Land(); err != nil || holds(t, s, key) != "first" {
		t.Fatalf("%v; the bucket has %q", err, holds(t, s, key))
	}
	if err := late.Land(); !errors.Is(err, objectstore.ErrLost) {
		t.Fatalf("landed on its own object: %v", err)
	}
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := late.Land(); err != nil || holds(t, s, key) != "first" {
		t.Fatalf("a trimmed slot looks empty again: %v; the bucket has %q", err, holds(t, s, key))
	}
	late.Drop()
	if len(s.Pending()) != 0 || len(s.Violations()) != 0 {
		t.Fatal(s.Pending(), s.Violations())
	}
}

func TestBlockedRequestsWaitForTheirRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keys := newFake(t)
		s.Script(fake.Rule{Fault: fake.Block}, fake.Rule{Fault: fake.BlockAnswer}, fake.Rule{Fault: fake.Block})
		put := func(ctx context.Context, key string) chan error {
			done := make(chan error, 1)
			go func() {
				v, err := s.Put(ctx, key, body("x"), objectstore.IfAbsent())
				if (v == "") == (err == nil) {
					t.Errorf("version %q, error %v", v, err)
				}
				done <- err
			}()
			synctest.Wait()
			return done
		}
		ctx, cancel := context.WithCancel(t.Context())
		before := put(t.Context(), keys.Journal(1))
		after := put(t.Context(), keys.Journal(2))
		given := put(ctx, keys.Journal(3))
		if holds(t, s, keys.Journal(1)) != "" || holds(t, s, keys.Journal(2)) != "x" || len(s.Pending()) != 3 {
			t.Fatal("wrong request performed", s.Pending())
		}
		cancel()
		if err := <-given; !errors.Is(err, context.Canceled) || len(s.Pending()) != 3 {
			t.Fatal(err)
		}
		pending := s.Pending()
		pending[1].Land() // repeated; must not change the first one's answer
		for _, p := range pending {
			p.Release()
		}
		if err := errors.Join(<-before, <-after); err != nil || len(s.Pending()) != 0 {
			t.Fatal(err, s.Pending())
		}
		if holds(t, s, keys.Journal(1)) != "x" || holds(t, s, keys.Journal(3)) != "" {
			t.Fatal("wrong objects")
		}
	})
}

func TestReadsBreakOffInTheMiddle(t *testing.T) {
	s, keys := newFake(t)
	for i := range uint64(4) {
		if _, err := s.Put(t.Context(), keys.Journal(i), body("0123456789"), objectstore.IfAbsent()); err != nil {
			t.Fatal(err)
		}
	}
	s.Script(fake.Rule{Count: -1, Fault: fake.Cut})
	o, err := s.Get(t.Context(), keys.Journal(0), objectstore.Range{Offset: 2, Length: 6})
	if err != nil || o.Size != 10 {
		t.Fatal(o.Size, err)
	}
	if data, err := io.ReadAll(o.Reader); !errors.Is(err, io.ErrUnexpectedEOF) || string(data) != "234" {
		t.Fatalf("%q, %v", data, err)
	}
	var seen int
	for _, err = range s.List(t.Context(), keys.JournalPrefix(), "") {
		seen++
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || seen != 3 {
		t.Fatal(seen, err)
	}
}

func TestItRefusesWhatLeatMustNeverAsk(t *testing.T) {
	s, keys := newFake(t)
	ctx := t.Context()
	put := func(key string, c objectstore.Condition) error {
		_, err := s.Put(ctx, key, body("x"), c)
		return err
	}
	version := objectstore.IfVersion("v")
	for name, err := range map[string]error{
		"unconditional":    put(keys.Head(), objectstore.Condition{}),
		"replace journal":  put(keys.Journal(1), version),
		"replace data":     put(keys.Data(objectstore.Segment{}), version),
		"replace secret":   put(keys.Secret(), version),
		"overwrite secret": put(keys.Secret(), objectstore.Condition{}),
		"delete secret":    s.Delete(ctx, keys.Secret()),
		"unknown name":     put("c/else", objectstore.IfAbsent()),
		"another cluster":  put("d/head", objectstore.IfAbsent()),
		"delete head":      s.Delete(ctx, keys.Head()),
		"delete uncreated": s.Delete(ctx, keys.Journal(1)),
	} {
		if !errors.Is(err, fake.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, err := range s.List(ctx, "", "") {
		if !errors.Is(err, fake.ErrForbidden) {
			t.Errorf("list: %v", err)
		}
	}
	if n := len(s.Violations()); n != 11 {
		t.Errorf("%d violations: %v", n, s.Violations())
	}
	probe := keys.Probe([16]byte{})
	if err := errors.Join(put(probe, objectstore.Condition{}), put(probe, objectstore.Condition{}), s.Delete(ctx, probe),
		put(keys.Head(), objectstore.IfAbsent()), put(keys.Secret(), objectstore.IfAbsent()), put(keys.Journal(1), objectstore.IfAbsent()),
		s.Delete(ctx, keys.Journal(1)), s.Delete(ctx, keys.Journal(1)), s.Delete(ctx)); err != nil {
		t.Error(err)
	}
}

func TestRequestsAreRecordedInOrderAndHooksSeeThem(t *testing.T) {
	s, keys := newFake(t)
	var hooked, answered []string
	s.OnRequest(func(r fake.Request) fake.Fault {
		hooked = append(hooked, r.String())
		if r.Op == fake.Delete {
			return fake.Lose
		}
		return fake.None
	})
	s.OnAnswer(func(r fake.Request) {
		if r.Err != nil {
			answered = append(answered, string(r.Op))
		}
	})
	ctx := t.Context()
	v, err := s.Put(ctx, keys.Head(), body("1"), objectstore.IfAbsent())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, keys.Head(), body("2"), objectstore.IfVersion(v)); err != nil {
		t.Fatal(err)
	}
	_, _ = s.Get(ctx, keys.Head(), objectstore.Range{Offset: 0, Length: 1})
	_, _ = s.Get(ctx, keys.Journal(0), objectstore.Range{})
	_, _ = s.Put(ctx, keys.Journal(0), body("e"), objectstore.IfAbsent())
	_ = s.Delete(ctx, keys.Journal(0))
	for range s.List(ctx, "c/", "c/head") {
		break
	}
	want := []string{
		"put c/head if-absent",
		"put c/head if-version",
		"get c/head 0+1",
		"get c/journal/00000000000000000000",
		"put c/journal/00000000000000000000 if-absent",
		"delete c/journal/00000000000000000000",
		"list c/ after c/head",
	}
	var got []string
	for i, r := range s.Requests() {
		got = append(got, r.String())
		if r.Number != i || (r.Err != nil) != (i == 3 || i == 5) || (r.Fault == fake.Lose) != (i == 5) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if !slices.Equal(got, want) || !slices.Equal(hooked, want) || !slices.Equal(answered, []string{"get", "delete"}) {
		t.Errorf("recorded %q\nhooked %q\nanswered with errors %q", got, hooked, answered)
	}
}
