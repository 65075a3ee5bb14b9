package file_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/file"
)

// childFolder names the environment variable by which the test binary, started again, learns that it is the process to kill.
const childFolder = "LEAT_FILE_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child puts, replaces and deletes until it is killed, and prints each key that was acknowledged.
func child(dir string) {
	s, err := file.New(dir)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	ctx := context.Background()
	var done sync.WaitGroup
	for worker := range 4 {
		done.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("data/%d-%d/%d/%d", os.Getpid(), worker, n/10, n)
				if _, err := s.Put(ctx, key, sealed(256<<10), objectstore.IfAbsent()); err != nil {
					fmt.Println("error", err)
				}
				fmt.Println("acked", key)
				if o, err := s.Get(ctx, "head", objectstore.Range{}); err == nil {
					_ = o.Reader.Close()
					_, err = s.Put(ctx, "head", sealed(100<<10), objectstore.IfVersion(o.Version))
					if err != nil && !errors.Is(err, objectstore.ErrLost) {
						fmt.Println("error", err)
					}
				}
			}
		})
	}
	done.Wait()
}

// sealed is a random body in three parts whose last bytes are the checksum of the others.
func sealed(size int) objectstore.Body {
	body := bytes.Repeat([]byte{byte(rand.N(256))}, size+rand.N(size))
	return objectstore.NewBody(body[:100], body[100:], binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
}

func checkSealed(t *testing.T, s objectstore.Store, key string) {
	t.Helper()
	o, err := s.Get(t.Context(), key, objectstore.Range{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(o.Reader)
	if err := errors.Join(err, o.Reader.Close()); err != nil {
		t.Fatal(err)
	}
	if len(got) < 4 || binary.BigEndian.Uint32(got[len(got)-4:]) != crc32.ChecksumIEEE(got[:len(got)-4]) {
		t.Fatalf("%s: half an object of %d bytes", key, len(got))
	}
}

func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestKilledProcessesLeaveNoHalfObjectAndLoseNoAcknowledgedOne(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Put(t.Context(), "head", sealed(100<<10), objectstore.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	acked := make(map[string]bool)
	for round := range 15 {
		process := exec.Command(os.Args[0])
		process.Env = append(os.Environ(), childFolder+"="+dir)
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		kill := rand.N(20) + 1 // killed once so many are acknowledged, in the middle of others
		for n := 0; lines.Scan(); {
			what, key, whole := strings.Cut(lines.Text(), " ")
			if what == "error" {
				t.Fatalf("round %d: %s", round, lines.Text())
			}
			if whole && what == "acked" && strings.Count(key, "/") == 3 {
				acked[key] = true
			}
			if n++; n == kill {
				_ = process.Process.Kill()
			}
		}
		_ = process.Wait()
		listed := 0
		for info, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			checkSealed(t, s, info.Key)
			listed++
		}
		for key := range acked {
			checkSealed(t, s, key)
		}
		if listed < len(acked)+1 {
			t.Fatalf("round %d: %d objects listed, %d acknowledged", round, listed, len(acked))
		}
	}
	// Only this process's folder is alive; the next one to open sweeps what the killed ones left.
	if left := folders(t, dir); left < 2 {
		t.Fatalf("%d folders for temporary files: the killed processes left none to sweep", left)
	}
	open(t, dir)
	if left := folders(t, dir); left != 2 {
		t.Fatalf("%d folders for temporary files, want those of the two open stores", left)
	}
	if _, err := s.Put(t.Context(), "after", sealed(1000), objectstore.IfAbsent()); err != nil {
		t.Fatal("the sweep hurt a live process:", err)
	}
}

// folders counts the processes' folders for temporary files.
func folders(t *testing.T, dir string) (n int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".leat-tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			n++
		}
	}
	return n
}

func TestLeftoversAreNoObjects(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, ".leat-tmp", "dead")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dead, "1"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	for info := range s.List(t.Context(), "", "") {
		t.Errorf("listed %s", info.Key)
	}
	if _, err := s.Get(t.Context(), ".leat-tmp/lock", objectstore.Range{}); err == nil {
		t.Error("the lock is an object")
	}
	if err := s.Delete(t.Context(), ".leat-tmp/lock"); err == nil {
		t.Error("the lock was deleted")
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Error("what a dead process left was not swept:", err)
	}
	if _, err := s.Put(t.Context(), "a", objectstore.Body{}, objectstore.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, ".leat-tmp", "*", "[0-9]*"))
	if err != nil || len(files) != 0 {
		t.Error("a put left its temporary file:", files, err)
	}
}

func TestTwoStoresOnOneFolderHaveOneWinner(t *testing.T) {
	dir := t.TempDir()
	stores := []*file.Store{open(t, dir), open(t, dir)} // as two processes: flock is per open file
	v, err := stores[0].Put(t.Context(), "head", objectstore.Body{}, objectstore.IfAbsent())
	if err != nil {
		t.Fatal(err)
	}
	for round := range 50 {
		for name, c := range map[string]objectstore.Condition{
			"head": objectstore.IfVersion(v), fmt.Sprint("slot/", round): objectstore.IfAbsent(),
		} {
			var done sync.WaitGroup
			var versions [8]objectstore.Version
			var errs [8]error
			for i := range errs {
				done.Go(func() {
					body := objectstore.NewBody(fmt.Appendf(nil, "%d by %d", round, i))
					versions[i], errs[i] = stores[i%2].Put(t.Context(), name, body, c)
				})
			}
			done.Wait()
			winners := 0
			for i, err := range errs {
				if err == nil {
					if winners++; name == "head" {
						v = versions[i]
					}
				} else if !errors.Is(err, objectstore.ErrLost) {
					t.Fatal(err)
				}
			}
			if winners != 1 {
				t.Fatalf("round %d: %d winners of %s", round, winners, name)
			}
		}
	}
}

func TestEmptyFoldersGoAndPutsRaceWithThat(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var done sync.WaitGroup
	for worker := range 4 {
		done.Go(func() {
			for n := range 100 {
				key := fmt.Sprintf("data/owner/%d-%d", worker, n)
				if _, err := s.Put(t.Context(), key, objectstore.Body{}, objectstore.IfAbsent()); err != nil {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	if _, err := os.Stat(filepath.Join(dir, "data", "owner")); !os.IsNotExist(err) {
		t.Error("an empty folder is left:", err)
	}
}

func TestWaitingForTheLockEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	v, err := s.Put(t.Context(), "head", objectstore.Body{}, objectstore.IfAbsent())
	if err != nil {
		t.Fatal(err)
	}
	free := file.Hold(t, s) // a stopped process holds the lock
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Put(ctx, "head", objectstore.NewBody([]byte("x")), objectstore.IfVersion(v))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, objectstore.ErrNotApplied) {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "other", objectstore.Body{}, objectstore.IfAbsent()); err != nil {
		t.Fatal("a create waits for the lock:", err)
	}
	free()
	if _, err = s.Put(t.Context(), "head", objectstore.NewBody([]byte("x")), objectstore.IfVersion(v)); err != nil {
		t.Fatal(err)
	}
}

func TestAFailureBeforeTheNameIsNotApplied(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Put(t.Context(), "a", objectstore.Body{}, objectstore.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []objectstore.Condition{objectstore.IfAbsent(), {}} { // "a" cannot be a folder, too, nor "d" an object
		if _, err := s.Put(t.Context(), "a/b", objectstore.Body{}, c); !errors.Is(err, objectstore.ErrNotApplied) {
			t.Errorf("below an object: %v", err)
		}
	}
	if _, err := s.Put(t.Context(), "d/e", objectstore.Body{}, objectstore.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []objectstore.Condition{objectstore.IfAbsent(), {}} {
		if _, err := s.Put(t.Context(), "d", objectstore.Body{}, c); !errors.Is(err, objectstore.ErrNotApplied) {
			t.Errorf("in place of a folder: %v", err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, ".leat-tmp")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "b", objectstore.Body{}, objectstore.IfAbsent()); !errors.Is(err, objectstore.ErrNotApplied) {
		t.Errorf("no place for temporary files: %v", err)
	}
}

func TestASymbolicLinkIsNoWayOut(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir)
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "link", objectstore.Range{}); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("followed a link: %v", err)
	}
	for info := range s.List(t.Context(), "", "") {
		t.Errorf("listed %s", info.Key)
	}
}
