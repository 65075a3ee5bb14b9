package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/journaltest"
)

func fresh(t *testing.T) journaltest.Harness {
	path := filepath.Join(t.TempDir(), "folder", "journal.bolt")
	j := open(t, path)
	t.Cleanup(func() { j.Close() })
	return journaltest.Harness{
		Open: func(t *testing.T) journaltest.Process { return journaltest.Process{Journal: j} },
		Restart: func(t *testing.T) journaltest.Process {
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			j = open(t, path)
			return journaltest.Process{Journal: j}
		},
		RemoveHead: func(t *testing.T) {
			err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaName).Delete(headKey) })
			if err != nil {
				t.Fatal(err)
			}
		},
		Kept: func(t *testing.T) (kept []uint64) {
			j.db.View(func(tx *bbolt.Tx) error {
				return tx.Bucket(entriesName).ForEach(func(k, _ []byte) error {
					kept = append(kept, binary.BigEndian.Uint64(k))
					return nil
				})
			})
			return kept
		},
	}
}

func open(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJournal(t *testing.T)           { journaltest.Run(t, fresh) }
func TestV1LostAck(t *testing.T)         { journaltest.V1LostAck(t, fresh(t)) }
func TestV2DivergedReplica(t *testing.T) { journaltest.V2DivergedReplica(t, fresh(t)) }
func TestV3WrongBase(t *testing.T)       { journaltest.V3WrongBase(t, fresh(t)) }
func TestV4StaleRead(t *testing.T)       { journaltest.V4StaleRead(t, fresh(t)) }

// TestSecondProcessIsRefusedAtOnce starts this test again as the other process.
func TestSecondProcessIsRefusedAtOnce(t *testing.T) {
	if path := os.Getenv("LEAT_TEST_JOURNAL"); path != "" {
		_, err := Open(path)
		if !errors.Is(err, journal.ErrInUse) || strings.Contains(err.Error(), "\n") {
			t.Fatal(err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "journal.bolt")
	j := open(t, path)
	defer j.Close()
	if _, err := Open(path); !errors.Is(err, journal.ErrInUse) {
		t.Fatalf("opening it twice in one process: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSecondProcessIsRefusedAtOnce$")
	cmd.Env = append(os.Environ(), "LEAT_TEST_JOURNAL="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestWhatIsNoJournalIsRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a bbolt file\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(text); !errors.Is(err, journal.ErrCorrupt) {
		t.Fatalf("a text file: %v", err)
	}

	other := filepath.Join(dir, "other")
	db, err := bbolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("cache")); return err })
	db.Close()
	if _, err := Open(other); !errors.Is(err, journal.ErrNoHead) {
		t.Fatalf("another bbolt file: %v", err)
	}
	if _, err := Open(dir); err == nil {
		t.Fatal("a folder was opened")
	}
}

// TestHoleAndDamageAreNamed: what bbolt hands back is checked like bytes from a bucket.
func TestHoleAndDamageAreNamed(t *testing.T) {
	for name, harm := range map[string]func(b *bbolt.Bucket) error{
		"hole": func(b *bbolt.Bucket) error { return b.Delete(key(2)) },
		"damage": func(b *bbolt.Bucket) error {
			return b.Put(key(2), []byte("LeJE garbage, long enough to look like an entry"))
		},
		"moved": func(b *bbolt.Bucket) error { return b.Put(key(2), append([]byte(nil), b.Get(key(3))...)) },
	} {
		j := open(t, filepath.Join(t.TempDir(), "journal.bolt"))
		defer j.Close()
		term, err := j.Lead(t.Context(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := term.Append(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.db.Update(func(tx *bbolt.Tx) error { return harm(tx.Bucket(entriesName)) }); err != nil {
			t.Fatal(err)
		}
		var last error
		n := 0
		for _, err := range j.Read(t.Context(), 1) {
			n, last = n+1, err
		}
		if n != 2 || !errors.Is(last, journal.ErrCorrupt) || !strings.Contains(last.Error(), "entry 2") {
			t.Errorf("%s: read ended after %d with %v", name, n, last)
		}
	}
}

// TestFailedWriteEndsTheJournal: after a transaction whose fate is unknown nothing is served from memory.
func TestFailedWriteEndsTheJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.bolt")
	j := open(t, path)
	term, err := j.Lead(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	j.db.Close() // makes the commit fail below the transaction's own code
	if _, err := term.Append(t.Context(), []byte("x")); !errors.Is(err, journal.ErrUnknown) {
		t.Fatal(err)
	}
	if _, err := term.Append(t.Context(), []byte("y")); !errors.Is(err, journal.ErrFenced) {
		t.Fatal(err)
	}
	if _, err := j.Head(t.Context()); err == nil {
		t.Fatal("head was read after a failed write")
	}
	if _, err := j.Lead(t.Context(), 1, nil); err == nil {
		t.Fatal("led after a failed write")
	}
	j = open(t, path)
	defer j.Close()
	if err := j.Tip(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}
