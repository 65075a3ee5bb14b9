package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
)

// The disk tier is a queue of bbolt files, because a bbolt file never shrinks: chunks are written to the newest file, and
// when it is full the oldest is deleted as a whole.
//
//	dir/lock            flock: one process per folder
//	dir/boot            id of the machine's boot that wrote last, or "clean"
//	dir/chunks-<n>.bolt generation n, at most DiskBytes / generations bytes each
//
// A chunk that is read from the oldest file is written again, so what is used stays: roughly least recently used.
const (
	generations   = 4
	minGeneration = 256 << 10       // bytes; bbolt's own pages and the rest of a last, half-filled leaf
	maxBatch      = 8 << 20         // bytes written in one transaction
	diskPatience  = 2 * time.Second // a disk that takes longer for one read is worse than the bucket
	diskReads     = 16              // at a time; each may hold a thread in a page fault
	boltWait      = time.Millisecond
)

var errSlow = errors.New("no answer from disk in time")

// disk is the disk tier. It fails no one: after the first error, and when a read takes too long, it is off for the rest of the
// process, its files deleted, with one line in the log.
//
// mu guards files: read-locked while one is read from, locked when the list changes, which only the writer goroutine, openDisk
// and fail do. queue has its own lock.
type disk struct {
	dir     string
	limit   int64 // bytes of one generation
	chunk   int64 // bytes of a full chunk
	log     *slog.Logger
	metrics *metrics
	lock    *os.File

	mu    sync.RWMutex
	files []*generation // oldest first; chunks are written to the last

	off     atomic.Bool
	queue   diskQueue
	slots   chan struct{}
	running sync.WaitGroup // readers and the writer
}

// openDisk locks the folder, opens what is usable in it, deletes what is not, and starts the writer.
func openDisk(cfg Config, queueBytes int64, log *slog.Logger, m *metrics) (*disk, error) {
	d := &disk{
		dir: cfg.Dir, limit: cfg.DiskBytes / generations, chunk: cfg.ChunkBytes, log: log, metrics: m,
		slots: make(chan struct{}, diskReads),
	}
	d.queue.init(queueBytes)
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache: folder %s: %w", d.dir, err)
	}
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	if err := d.openGenerations(); err != nil {
		d.closeFiles()
		_ = d.lock.Close()
		return nil, fmt.Errorf("cache: folder %s: %w", d.dir, err)
	}
	d.running.Add(1)
	go func() {
		defer d.running.Done()
		d.write()
	}()
	return d, nil
}

// takeLock makes the folder this process's own. The lock ends with the process, however it ends.
func (d *disk) takeLock() error {
	lock, err := os.OpenFile(filepath.Join(d.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("cache: lock of folder %s: %w", d.dir, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return fmt.Errorf("cache: folder %s: %w", d.dir, err)
	}
	d.lock = lock
	return nil
}

// openGenerations opens the files of earlier processes. Nothing is synced while running, so after a crash of the machine
// (not of the process) any page may be missing, and the files are not even looked at.
func (d *disk) openGenerations() error {
	paths, err := filepath.Glob(filepath.Join(d.dir, "chunks-*.bolt"))
	if err != nil {
		return err
	}
	if !d.survived() {
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
		paths = nil
	}
	if err := os.WriteFile(d.bootPath(), []byte(bootID()), 0o644); err != nil {
		return err
	}
	for _, path := range paths {
		g, err := openGeneration(path, d.limit)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return err
		case err != nil:
			d.log.Warn("deleting a damaged file of the disk cache", "file", path, "error", err)
			if err := os.Remove(path); err != nil {
				return err
			}
		default:
			d.files = append(d.files, g)
		}
	}
	slices.SortFunc(d.files, func(a, b *generation) int { return cmp.Compare(a.number, b.number) })
	for len(d.files) > 0 && d.held() > d.limit*generations {
		d.dropOldest()
	}
	if len(d.files) == 0 {
		return d.addGeneration()
	}
	return nil
}

func (d *disk) bootPath() string { return filepath.Join(d.dir, "boot") }

// survived reports whether everything that was written before can be trusted to have reached the files.
func (d *disk) survived() bool {
	last, err := os.ReadFile(d.bootPath())
	if err != nil {
		return false
	}
	return string(last) == bootClean || (bootID() != "" && string(last) == bootID())
}

// bootClean stands in place of the boot id after an orderly close.
const bootClean = "clean"

// bootID names this run of the machine, or is empty where the system has no such name.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(id)
}

// read answers what the disk has of the calls' chunks, nil where it has none; nil altogether if it has nothing to say.
func (d *disk) read(ctx context.Context, calls []*call) []*chunk {
	if d.off.Load() {
		return nil
	}
	answer := make(chan []*chunk, 1)
	d.running.Add(1)
	go func() {
		defer d.running.Done()
		d.slots <- struct{}{}
		defer func() { <-d.slots }()
		answer <- d.lookup(calls)
	}()
	patience := time.NewTimer(diskPatience)
	defer patience.Stop()
	select {
	case chunks := <-answer:
		return chunks
	case <-patience.C:
		d.fail(errSlow)
		return nil
	case <-ctx.Done():
		return nil
	}
}

// lookup reads the chunks of calls.
func (d *disk) lookup(calls []*call) []*chunk {
	chunks := make([]*chunk, len(calls))
	for i, call := range calls {
		if d.off.Load() {
			return nil
		}
		c, err := d.lookupOne(call.id, call.length)
		if err != nil {
			d.fail(err)
			return nil
		}
		chunks[i] = c
	}
	return chunks
}

// lookupOne asks the generations, newest first. A damaged chunk is a miss.
func (d *disk) lookupOne(id chunkID, length int64) (*chunk, error) {
	name := diskKey(id, d.chunk)
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i := len(d.files) - 1; i >= 0; i-- {
		data, err := d.files[i].get(name, length)
		if errors.Is(err, errDamaged) {
			d.metrics.diskCorrupt.Inc()
			continue
		}
		if err != nil {
			return nil, err
		}
		if data != nil {
			c := newChunk(id, data)
			c.stored = i > 0 || len(d.files) < generations
			return c, nil
		}
	}
	return nil, nil
}

// addGeneration begins a new file, deleting the oldest if there are too many.
func (d *disk) addGeneration() error {
	number := uint64(1)
	if n := len(d.files); n > 0 {
		number = d.files[n-1].number + 1
	}
	for len(d.files) >= generations {
		d.metrics.evictions[tierDisk].Add(float64(d.dropOldest()))
	}
	g, err := openGeneration(filepath.Join(d.dir, fmt.Sprintf("chunks-%d.bolt", number)), d.limit)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.files = append(d.files, g)
	d.mu.Unlock()
	return nil
}

// dropOldest deletes the oldest file and answers how many chunks were in it.
func (d *disk) dropOldest() int {
	d.mu.Lock()
	g := d.files[0]
	d.files = slices.Clone(d.files[1:])
	d.mu.Unlock()
	return g.remove()
}

// held answers the bytes of the files.
func (d *disk) held() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var sum int64
	for _, g := range d.files {
		sum += g.size()
	}
	return sum
}

// fail turns the tier off, for good. The files are deleted but not closed: the goroutine that failed may have left bbolt's
// locks taken, and one that hangs has them still. Whoever can, closes them: see write.
func (d *disk) fail(err error) {
	if d.off.Swap(true) {
		return
	}
	d.metrics.diskOff.Set(1)
	d.log.Warn("disk cache is off: reading from memory and the bucket only", "folder", d.dir, "error", err)
	d.queue.close()
	paths, _ := filepath.Glob(filepath.Join(d.dir, "chunks-*.bolt"))
	for _, path := range paths {
		_ = os.Remove(path) // nothing more can be done about a disk that was just given up
	}
}

// closeFiles closes what is open.
func (d *disk) closeFiles() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.files {
		g.close()
	}
	d.files = nil
}

// close writes what is queued, syncs the newest file and ends the writer. A disk that hangs is left alone after
// diskPatience: nothing on it matters.
func (d *disk) close() error {
	d.queue.close()
	ended := make(chan struct{})
	go func() {
		d.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(5 * diskPatience):
		d.fail(errSlow)
		return fmt.Errorf("cache: close disk tier in %s: %w", d.dir, errSlow)
	}
	if !d.off.Load() {
		clean := true
		for _, g := range d.files {
			clean = g.sync() == nil && clean
		}
		d.closeFiles()
		if clean {
			_ = os.WriteFile(d.bootPath(), []byte(bootClean), 0o644) // else the next process begins anew
		}
	}
	return d.lock.Close()
}

// write is the writer goroutine: it empties the queue until that is closed and empty.
func (d *disk) write() {
	batchBytes := min(maxBatch, d.limit/8)
	for {
		ops, more := d.queue.take(batchBytes)
		if !more {
			return
		}
		if !d.off.Load() {
			if err := d.apply(ops); err != nil {
				d.fail(err)
				if !errors.Is(err, errPanicked) {
					d.closeFiles() // gives a full disk its space back
				}
			}
		}
		for _, op := range ops {
			if op.dropped != nil {
				close(op.dropped)
			}
		}
	}
}

// apply carries out ops in order. A full generation is followed by a new one.
func (d *disk) apply(ops []diskOp) error {
	for len(ops) > 0 {
		if ops[0].dropped != nil {
			for _, g := range d.files {
				if err := g.delete(ops[0].names); err != nil {
					return err
				}
			}
			ops = ops[1:]
			continue
		}
		n := 1
		for n < len(ops) && ops[n].dropped == nil {
			n++
		}
		newest := d.files[len(d.files)-1]
		err := newest.put(ops[:n], d.chunk)
		if errors.Is(err, bolterrors.ErrMaxSizeReached) {
			if err := newest.sync(); err != nil {
				return err
			}
			if err := d.addGeneration(); err != nil {
				return err
			}
			err = d.files[len(d.files)-1].put(ops[:n], d.chunk)
		}
		if err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// offer queues a chunk to be written; if the queue is full, the chunk is not written.
func (d *disk) offer(c *chunk) {
	if d.off.Load() || !d.queue.offer(c) {
		d.metrics.diskSkipped.Inc()
	}
}

// drop queues the deletion of an object's chunks, behind those already queued, and answers how to wait for it. A disk that
// takes too long is given up, which forgets them too.
func (d *disk) drop(key string, last int64) (wait func()) {
	names := make([][]byte, 0, last+1)
	for i := int64(0); i <= last; i++ {
		names = append(names, diskKey(chunkID{key, i}, d.chunk))
	}
	done := d.queue.drop(names)
	if done == nil {
		return func() {}
	}
	return func() {
		patience := time.NewTimer(5 * diskPatience)
		defer patience.Stop()
		select {
		case <-done:
		case <-patience.C:
			d.fail(errSlow)
		}
	}
}
