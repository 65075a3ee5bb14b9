package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/leat-stream/leat/objectstore"
)

func (s *suite) ifAbsent() {
	key := s.key("once")
	v := s.put(key, "first", objectstore.IfAbsent())
	for _, content := range []string{"second", "first"} { // the same bytes are no exception
		_, err := s.store.Put(s.Context(), key, objectstore.NewBody([]byte(content)), objectstore.IfAbsent())
		s.wantErr("a second put", err, objectstore.ErrLost)
	}
	s.want(key, "first", v)
}

func (s *suite) ifVersion() {
	key := s.key("head")
	put := func(content string, v objectstore.Version) (objectstore.Version, error) {
		return s.store.Put(s.Context(), key, objectstore.NewBody([]byte(content)), objectstore.IfVersion(v))
	}
	v1 := s.put(s.key("other"), "1", objectstore.IfAbsent())
	_, err := put("0", v1)
	s.wantErr("a missing object", err, objectstore.ErrLost)
	s.absent(key)

	v1 = s.put(key, "1", objectstore.IfAbsent())
	v2, err := put("2", v1)
	if err != nil {
		s.Fatal(err)
	}
	s.want(key, "2", v2)
	_, err = put("3", v1)
	s.wantErr("a stale version", err, objectstore.ErrLost)
	s.want(key, "2", v2)
	_, o := s.get(key, objectstore.Range{Length: 1})
	if v2, err = put("longer than before", o.Version); err != nil {
		s.Fatal(err)
	}
	s.want(key, "longer than before", v2)
	if err := s.store.Delete(s.Context(), key); err != nil {
		s.Fatal(err)
	}
	_, err = put("4", v2)
	s.wantErr("a deleted object", err, objectstore.ErrLost)
	s.absent(key)
}

const (
	racers = 8
	rounds = 25
)

// race has all racers put under the same condition at once, and answers what the one winner put and its version.
func (s *suite) race(round int, key string, c objectstore.Condition) (content string, v objectstore.Version) {
	s.Helper()
	var (
		start    = make(chan struct{})
		done     sync.WaitGroup
		versions [racers]objectstore.Version
		errs     [racers]error
	)
	contentOf := func(i int) string { return fmt.Sprintf("round %d racer %d", round, i) }
	for i := range racers {
		done.Go(func() {
			<-start
			versions[i], errs[i] = s.store.Put(s.Context(), key, objectstore.NewBody([]byte(contentOf(i))), c)
		})
	}
	close(start)
	done.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			s.Fatalf("round %d: racers %d and %d won", round, winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, objectstore.ErrLost):
			s.Fatalf("round %d: racer %d: %v", round, i, err)
		}
	}
	if winner < 0 {
		s.Fatalf("round %d: nobody won: %v", round, errors.Join(errs[:]...))
	}
	s.want(key, contentOf(winner), versions[winner])
	return contentOf(winner), versions[winner]
}

func (s *suite) raceAbsent() {
	for round := range rounds {
		s.race(round, s.key(fmt.Sprintf("race/%d", round)), objectstore.IfAbsent())
	}
}

func (s *suite) raceVersion() {
	key := s.key("race")
	v := s.put(key, "start", objectstore.IfAbsent())
	for round := range rounds {
		_, v = s.race(round, key, objectstore.IfVersion(v))
	}
}

func (s *suite) deleteAndCreate() {
	key := s.key("slot")
	for round := range 3 {
		v := s.put(key, fmt.Sprint(round), objectstore.IfAbsent())
		s.want(key, fmt.Sprint(round), v)
		if err := s.store.Delete(s.Context(), key); err != nil {
			s.Fatal(err)
		}
		s.absent(key)
	}
}

func (s *suite) deletes() {
	for _, name := range []string{"a", "b/c", "b/d", "e"} {
		s.put(s.key(name), name, objectstore.IfAbsent())
	}
	if err := s.store.Delete(s.Context()); err != nil {
		s.Fatal("nothing:", err)
	}
	missing := []string{s.key("b"), s.key("b/x"), s.key("a/x"), s.key("zz")}
	if err := s.store.Delete(s.Context(), missing...); err != nil {
		s.Fatal("missing keys:", err)
	}
	if got := len(s.list(s.prefix, "")); got != 4 {
		s.Fatalf("%d objects are left, want 4", got)
	}
	if err := s.store.Delete(s.Context(), s.key("a"), s.key("zz"), s.key("b/d"), s.key("a")); err != nil {
		s.Fatal(err)
	}
	if got, want := s.list(s.prefix, ""), []string{s.key("b/c"), s.key("e")}; !slices.Equal(got, want) {
		s.Fatalf("left are %q, want %q", got, want)
	}
	s.want(s.key("e"), "e", s.put(s.key("e"), "e", objectstore.Condition{}))
}

func (s *suite) lists() {
	names := []string{"a-b", "a/1", "a/2/x", "a/2/y", "a/3", "ab", "b"}
	for i, name := range names {
		s.put(s.key(name), strings.Repeat("x", i), objectstore.IfAbsent())
	}
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", names},
		{"a", "", []string{"a-b", "a/1", "a/2/x", "a/2/y", "a/3", "ab"}},
		{"a/", "", []string{"a/1", "a/2/x", "a/2/y", "a/3"}},
		{"a/2", "", []string{"a/2/x", "a/2/y"}},
		{"a/", "a/2/x", []string{"a/2/y", "a/3"}},
		{"a/", "a/2", []string{"a/2/x", "a/2/y", "a/3"}},
		{"a/", "a/2/", []string{"a/2/x", "a/2/y", "a/3"}},
		{"a/", "a/20", []string{"a/3"}},
		{"a/2", "b", nil},
		{"c", "", nil},
		{"a/1/", "", nil},
	} {
		after := c.after
		if after != "" {
			after = s.key(after)
		}
		got := s.list(s.key(c.prefix), after)
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], s.prefix)
		}
		if !slices.Equal(got, c.want) {
			s.Errorf("list %q after %q: %q, want %q", c.prefix, c.after, got, c.want)
		}
	}
	for info := range s.store.List(s.Context(), s.key("a/3"), "") {
		if info.Size != 4 || info.Modified.IsZero() {
			s.Errorf("%+v", info)
		}
	}
	for range s.store.List(s.Context(), s.prefix, "") {
		break // must not panic or go on
	}
}

// longList needs more than one page of a listing, and more than one request for a delete.
func (s *suite) longList() {
	const n = 1203
	keys := make([]string, n)
	todo := make(chan string)
	var done sync.WaitGroup
	for range racers {
		done.Go(func() {
			for key := range todo {
				if _, err := s.store.Put(s.Context(), key, objectstore.Body{}, objectstore.IfAbsent()); err != nil {
					s.Error(err)
				}
			}
		})
	}
	for i := range keys {
		keys[i] = s.key(fmt.Sprintf("many/%04d", i))
		todo <- keys[i]
	}
	close(todo)
	done.Wait()
	if got := s.list(s.key("many/"), ""); !slices.Equal(got, keys) {
		s.Fatalf("%d keys, want %d", len(got), n)
	}
	if got := s.list(s.key("many/"), keys[99]); !slices.Equal(got, keys[100:]) {
		s.Fatalf("%d keys after the hundredth, want %d", len(got), n-100)
	}
	if err := s.store.Delete(s.Context(), keys[:n-1]...); err != nil {
		s.Fatal(err)
	}
	if got := s.list(s.prefix, ""); !slices.Equal(got, keys[n-1:]) {
		s.Fatalf("%d keys are left, want 1", len(got))
	}
}

func (s *suite) oddKeys() {
	names := []string{
		"space in it", " leading", "plus+plus", "percent%20%2F%", "amp&eq=1;2", "question?", "hash#", "quote'\"`", "at@:,",
		"tilde~", "star*", "angle<>", "brace{}[]()", "dollar$", "bar|", "caret^", "..dots..", "...", "-dash", "umlaut-ä€😀",
		"UPPER", "upper", strings.Repeat("long", 60),
	}
	var keys []string
	for _, name := range names {
		key := s.key("odd/" + name)
		s.want(key, name, s.put(key, name, objectstore.IfAbsent()))
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if got := s.list(s.key("odd/"), ""); !slices.Equal(got, keys) {
		s.Fatalf("listed %q, want %q", got, keys)
	}
	if err := s.store.Delete(s.Context(), keys...); err != nil {
		s.Fatal(err)
	}
	if got := s.list(s.key("odd/"), ""); len(got) != 0 {
		s.Fatalf("left %q", got)
	}
}

func (s *suite) illegalKeys() {
	for _, key := range []string{"", "/", "../escape", s.prefix + "../../../escape", "a//b", "/abs", "a/", "a\x00b", "a\nb", "./a"} {
		_, err := s.store.Put(s.Context(), key, objectstore.Body{}, objectstore.IfAbsent())
		s.wantErr("put", err, objectstore.ErrNotApplied)
		if o, err := s.store.Get(s.Context(), key, objectstore.Range{}); err == nil {
			_ = o.Reader.Close()
			s.Errorf("got %q", key)
		}
		if err := s.store.Delete(s.Context(), key); err == nil {
			s.Errorf("deleted %q", key)
		}
	}
}
