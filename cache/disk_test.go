package cache

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func withDisk(t *testing.T) Config {
	cfg := small()
	cfg.Dir = t.TempDir()
	return cfg
}

// pushOut writes objects until whatever was in the window before has left it.
func pushOut(c *Cache, round string) {
	for i := range 60 {
		key := fmt.Sprint("push", round, i)
		c.Put(key, [][]byte{content(key, 1<<12)[:256]})
		settle(c)
	}
}

// diskFiles answers the paths of the generations and the bytes of all files.
func diskFiles(t *testing.T, dir string) (paths []string, bytes int64) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
		if strings.HasSuffix(path, ".bolt") {
			paths = append(paths, path)
		}
	}
	return paths, bytes
}

// filled answers the folder of a closed cache that has object "kept" (256 bytes) on disk.
func filled(t *testing.T) Config {
	t.Helper()
	cfg := withDisk(t)
	c := open(t, cfg, (&bucket{}).open)
	c.Put("kept", [][]byte{content("kept", 1<<12)[:256]})
	pushOut(c, "")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDiskKeepsItsContentWhenOpenedAgain(t *testing.T) {
	cfg := filled(t)
	b := &bucket{}
	c := open(t, cfg, b.open)
	read(t, c, "kept", 256, 10, 200, Tail)
	read(t, c, "kept", 256, 10, 200, Backfill)
	if got := b.asked(); len(got) != 0 {
		t.Fatalf("asked %v", got)
	}
}

func TestDiskWithAnotherChunkSizeFindsNothingAndAnswersRight(t *testing.T) {
	cfg := filled(t)
	cfg.ChunkBytes = 32
	b := &bucket{}
	c := open(t, cfg, b.open)
	read(t, c, "kept", 256, 10, 200, Tail)
	if got := b.asked(); len(got) == 0 {
		t.Fatal("asked nothing")
	}
}

func TestDiskOfACrashedMachineIsBegunAnew(t *testing.T) {
	cfg := filled(t)
	if err := os.WriteFile(filepath.Join(cfg.Dir, "boot"), []byte("another boot"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &bucket{}
	c := open(t, cfg, b.open)
	read(t, c, "kept", 256, 0, 256, Tail)
	if got := b.asked(); len(got) != 1 {
		t.Fatalf("asked %v", got)
	}
}

func TestDiskBudgetHoldsAndOldestGoesFirst(t *testing.T) {
	cfg := withDisk(t)
	cfg.ChunkBytes, cfg.MaxGetBytes, cfg.MemoryBytes, cfg.DiskBytes = 1024, 4096, 64*2048, 2<<20
	b := &bucket{}
	c := open(t, cfg, b.open)
	most := int64(0)
	for i := range 2000 { // twice the budget
		key := fmt.Sprint("k", i)
		c.Put(key, [][]byte{content(key, 1<<12)[:2000]})
		settle(c)
		if i%20 == 0 {
			_, size := diskFiles(t, cfg.Dir)
			most = max(most, size)
		}
	}
	settle(c)
	if most > cfg.DiskBytes || most < cfg.DiskBytes/2 {
		t.Errorf("files took up to %d bytes, of %d", most, cfg.DiskBytes)
	}
	if paths, _ := diskFiles(t, cfg.Dir); len(paths) != generations {
		t.Errorf("files: %v", paths)
	}
	count := func(from, to int) (found int) {
		for i := from; i < to; i++ {
			if c, err := c.disk.lookupOne(chunkID{fmt.Sprint("k", i), 0}, 1024); err == nil && c != nil {
				found++
			}
		}
		return found
	}
	if old, young := count(0, 500), count(1700, 1900); old != 0 || young != 200 {
		t.Errorf("%d of the oldest 500 and %d of the youngest 200 are there", old, young)
	}
}

func TestChunkInUseIsWrittenAgainBeforeItsFileGoes(t *testing.T) {
	cfg := withDisk(t)
	cfg.DiskBytes = 2 << 20
	b := &bucket{}
	c := open(t, cfg, b.open)
	c.Put("kept", [][]byte{content("kept", 1<<12)[:64]})
	first := ""
	for round := 0; ; round++ {
		pushOut(c, fmt.Sprint(round))
		read(t, c, "kept", 64, 0, 64, Tail)
		paths, _ := diskFiles(t, cfg.Dir)
		if first == "" {
			first = paths[0]
		}
		if !slices.Contains(paths, first) && len(paths) == generations {
			break
		}
	}
	for round := range 3 {
		pushOut(c, fmt.Sprint("after", round))
	}
	if found, err := c.disk.lookupOne(chunkID{"kept", 0}, 64); found == nil || err != nil {
		t.Fatalf("gone (%v)", err)
	}
	if got := b.asked(); len(got) != 0 {
		t.Fatalf("asked %v", got)
	}
}

func TestDamagedFileIsDeletedWhenOpenedAndTheRestWorks(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"garbage": func(b []byte) []byte { return bytes.Repeat([]byte("junk"), len(b)/4) },
		"empty":   func([]byte) []byte { return nil },
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"pages":   func(b []byte) []byte { return append(b[:8192:8192], bytes.Repeat([]byte{0xff}, len(b)-8192)...) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := filled(t)
			paths, _ := diskFiles(t, cfg.Dir)
			for _, path := range paths {
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage(whole), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c := open(t, cfg, (&bucket{}).open)
			read(t, c, "kept", 256, 0, 256, Tail)
			pushOut(c, "again")
			read(t, c, "kept", 256, 0, 256, Tail)
		})
	}
}

func TestDamagedChunkIsAMissAndIsReadFromTheBucket(t *testing.T) {
	cfg := filled(t)
	paths, _ := diskFiles(t, cfg.Dir)
	whole, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; { // old pages may hold a copy too
		i := bytes.Index(whole[at:], content("kept", 1<<12)[:64])
		if i < 0 {
			break
		}
		at += i + 1
		whole[at] ^= 1
	}
	if err := os.WriteFile(paths[0], whole, 0o644); err != nil {
		t.Fatal(err)
	}
	b := &bucket{}
	c := open(t, cfg, b.open)
	read(t, c, "kept", 256, 0, 256, Tail)
	if got := b.asked(); !slices.Equal(got, []string{"kept 0+64"}) {
		t.Fatalf("asked %v", got)
	}
	if c.disk.off.Load() {
		t.Fatal("one damaged chunk turned the disk off")
	}
}

func TestFileThatBreaksWhileInUseTurnsTheDiskOffAndReadersSeeNothing(t *testing.T) {
	cfg := withDisk(t)
	var log bytes.Buffer
	b := &bucket{}
	c, err := Open(cfg, b.open, slog.New(slog.NewTextHandler(&log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Put("kept", [][]byte{content("kept", 1<<12)[:256]})
	pushOut(c, "")
	paths, _ := diskFiles(t, cfg.Dir)
	for _, path := range paths { // pages are gone from under the mapping: touching them is a fault
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		read(t, c, fmt.Sprint("new", i), 256, 0, 256, Tail)
	}
	if !c.disk.off.Load() {
		t.Error("the disk tier is still on")
	}
	pushOut(c, "more")
	c.Drop("kept", 256)
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d log lines:\n%s", n, log.String())
	}
	if paths, _ := diskFiles(t, cfg.Dir); len(paths) != 0 {
		t.Errorf("files stayed: %v", paths)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestFullDiskTurnsTheTierOffAndGivesItsSpaceBack(t *testing.T) {
	cfg := withDisk(t)
	c := open(t, cfg, (&bucket{}).open)
	if err := os.RemoveAll(cfg.Dir); err != nil { // the next generation can't be made
		t.Fatal(err)
	}
	for round := 0; !c.disk.off.Load(); round++ {
		if round > 200 {
			t.Fatal("the tier stayed on")
		}
		pushOut(c, fmt.Sprint(round))
	}
	read(t, c, "a", 256, 0, 256, Tail)
}

func TestDropDeletesFromDisk(t *testing.T) {
	cfg := filled(t)
	b := &bucket{}
	c := open(t, cfg, b.open)
	c.Drop("kept", 256)
	read(t, c, "kept", 256, 0, 256, Tail)
	if got := b.asked(); len(got) != 1 {
		t.Fatalf("asked %v", got)
	}
}

func TestBackfillIsNotWrittenToDisk(t *testing.T) {
	c := open(t, withDisk(t), (&bucket{}).open)
	for i := range 300 {
		read(t, c, fmt.Sprint("old", i), 1000, 0, 256, Backfill)
	}
	settle(c)
	for i := range 300 {
		if found, _ := c.disk.lookupOne(chunkID{fmt.Sprint("old", i), 0}, 64); found != nil {
			t.Fatalf("old%d is on disk", i)
		}
	}
}

func TestSecondCacheOnTheSameFolderIsRefused(t *testing.T) {
	cfg := withDisk(t)
	open(t, cfg, (&bucket{}).open)
	if _, err := Open(cfg, (&bucket{}).open, slog.Default(), nil); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), cfg.Dir) {
		t.Fatalf("got %v", err)
	}
}

// TestKilledProcessLeavesAUsableDisk runs itself as another process, which fills a cache and is killed.
func TestKilledProcessLeavesAUsableDisk(t *testing.T) {
	const variable = "LEAT_CACHE_TEST_DIR"
	if dir := os.Getenv(variable); dir != "" {
		cfg := small()
		cfg.Dir = dir
		c, err := Open(cfg, (&bucket{}).open, slog.Default(), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Put("kept", [][]byte{content("kept", 1<<12)[:256]})
		pushOut(c, "")
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		_ = self.Kill()
		select {}
	}
	if bootID() == "" {
		t.Log("this system does not name its boots: after a kill the disk is begun anew")
		return
	}
	cfg := withDisk(t)
	child := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLeavesAUsableDisk$")
	child.Env = append(os.Environ(), variable+"="+cfg.Dir)
	if out, err := child.CombinedOutput(); err == nil {
		t.Fatalf("the child was not killed:\n%s", out)
	}
	b := &bucket{}
	c := open(t, cfg, b.open)
	read(t, c, "kept", 256, 0, 256, Tail)
	if got := b.asked(); len(got) != 0 {
		t.Fatalf("asked %v", got)
	}
}
