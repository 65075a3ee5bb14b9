package peer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storetest/fake"
)

var testCluster = [16]byte{1, 2, 3}

func newBucket(t *testing.T) (*fake.Store, objectstore.Keys) {
	t.Helper()
	keys, err := objectstore.NewKeys("c")
	if err != nil {
		t.Fatal(err)
	}
	store := fake.New(keys)
	t.Cleanup(func() {
		for _, v := range store.Violations() {
			t.Error(v)
		}
	})
	return store, keys
}

func TestTheFirstAgentMakesTheSecretAndOthersReadIt(t *testing.T) {
	store, keys := newBucket(t)
	first, err := LoadSecret(t.Context(), store, keys, testCluster)
	if err != nil || first.bytes == [32]byte{} {
		t.Fatal(first.bytes, err)
	}
	store.ResetRequests()
	second, err := LoadSecret(t.Context(), store, keys, testCluster)
	if err != nil || second != first {
		t.Fatal(err)
	}
	if got := store.Requests(); len(got) != 1 || got[0].Op != fake.Get {
		t.Errorf("a start with a secret there asks for %v", got)
	}
}

func TestAgentsThatRaceForTheSecretEndWithTheSame(t *testing.T) {
	store, keys := newBucket(t)
	const agents = 4
	var arrive sync.WaitGroup
	arrive.Add(agents)
	store.OnRequest(func(r fake.Request) fake.Fault {
		if r.Op == fake.Put { // all have seen that there is none
			arrive.Done()
			arrive.Wait()
		}
		return fake.None
	})
	got := make([]Secret, agents)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = LoadSecret(t.Context(), store, keys, testCluster); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range got {
		if s != got[0] || s.bytes == [32]byte{} {
			t.Fatal("the agents have different secrets")
		}
	}
}

func TestAPutOfUnknownOutcomeIsNotGuessed(t *testing.T) {
	t.Run("it landed", func(t *testing.T) {
		store, keys := newBucket(t)
		store.Script(fake.Rule{Op: fake.Put, Fault: fake.LoseAnswer})
		first, err := LoadSecret(t.Context(), store, keys, testCluster)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := LoadSecret(t.Context(), store, keys, testCluster); err != nil || second != first {
			t.Error(err)
		}
	})
	t.Run("it may land late", func(t *testing.T) {
		store, keys := newBucket(t)
		store.Script(fake.Rule{Op: fake.Put, Fault: fake.Late})
		if s, err := LoadSecret(t.Context(), store, keys, testCluster); !errors.Is(err, fake.ErrInjected) || s != (Secret{}) {
			t.Fatalf("a secret that may never be there was used: %v", err)
		}
		other, err := LoadSecret(t.Context(), store, keys, testCluster)
		if err != nil {
			t.Fatal(err)
		}
		store.Pending()[0].Land()
		if again, err := LoadSecret(t.Context(), store, keys, testCluster); err != nil || again != other {
			t.Error("the late one replaced it", err)
		}
	})
}

func TestADamagedSecretIsRefused(t *testing.T) {
	good := encodeSecret(Secret{cluster: testCluster, bytes: [32]byte{9}})
	if len(good) != secretSize {
		t.Fatal(len(good))
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := decodeSecret(bad, testCluster); !errors.Is(err, ErrSecretDamaged) && (i != 0 || !errors.Is(err, ErrSecretFormat)) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if _, err := decodeSecret(good[:i], testCluster); !errors.Is(err, ErrSecretDamaged) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
	store, keys := newBucket(t)
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"longer": {append(bytes.Clone(good), 0), ErrSecretDamaged},
		"huge":   {make([]byte, 1<<20), ErrSecretDamaged},
		"newer":  {append([]byte{2}, make([]byte, 100)...), ErrSecretFormat},
		"other":  {encodeSecret(Secret{cluster: [16]byte{7}}), ErrSecretDamaged},
	} {
		if _, err := store.Objects().Put(t.Context(), keys.Secret(), objectstore.NewBody(c.data), objectstore.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSecret(t.Context(), store, keys, testCluster); !errors.Is(err, c.want) || !strings.Contains(err.Error(), keys.Secret()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheSecretIsNeverPrinted(t *testing.T) {
	s := Secret{bytes: [32]byte(bytes.Repeat([]byte{0xAB}, 32))}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S Secret }{s})
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %x %d %q", s, s, s, s, s, s, s), fmt.Sprintf("%v %+v", &s, struct{ S Secret }{s}), log.String(),
	} {
		if l := strings.ToLower(text); strings.Contains(l, "ab ab") || strings.Contains(l, "abab") || strings.Contains(l, "171") {
			t.Errorf("printed: %s", text)
		}
	}
}

func FuzzDecodeSecret(f *testing.F) {
	f.Add(encodeSecret(Secret{cluster: testCluster}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSecret(b, testCluster)
		if err == nil && !bytes.Equal(encodeSecret(s), b) {
			t.Errorf("%x decodes to what is encoded differently", b)
		}
	})
}
