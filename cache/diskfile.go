package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// errDamaged: a chunk on disk is not what was written. errPanicked: bbolt came upon a page that makes no sense.
var (
	errDamaged  = errors.New("chunk on disk fails its checksum")
	errPanicked = errors.New("disk cache file is damaged")
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	chunkBucket = []byte("chunks")
)

// generation is one bbolt file.
//
//	bucket "chunks":  <object key> 00 <chunk size u64> <index u64>  →  <crc32c of name and bytes u32> <bytes>
//
// Integers are big-endian. The chunk size is in the name, so that a cache that is opened with another one finds nothing.
type generation struct {
	number uint64
	path   string
	db     *bbolt.DB
}

// diskKey is the name of a chunk in a generation.
func diskKey(id chunkID, chunkBytes int64) []byte {
	name := make([]byte, 0, len(id.key)+17)
	name = append(append(name, id.key...), 0)
	name = binary.BigEndian.AppendUint64(name, uint64(chunkBytes))
	return binary.BigEndian.AppendUint64(name, uint64(id.index))
}

// openGeneration opens or creates a file that refuses to grow beyond limit bytes.
func openGeneration(path string, limit int64) (*generation, error) {
	g := &generation{path: path}
	if n, err := fmt.Sscanf(filepath.Base(path), "chunks-%d.bolt", &g.number); n != 1 {
		return nil, fmt.Errorf("name of disk cache file %s: %w", path, err)
	}
	err := guard(func() (err error) {
		g.db, err = bbolt.Open(path, 0o644, &bbolt.Options{
			Timeout: boltWait, NoSync: true, NoGrowSync: true, FreelistType: bbolt.FreelistMapType, MaxSize: int(limit), NoStatistics: true,
		})
		if err != nil {
			return err
		}
		g.db.AllocSize = 0 // else MaxSize is compared with what bbolt would like to allocate, not with what it needs
		return g.db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(chunkBucket)
			return err
		})
	})
	if err != nil {
		if g.db != nil && !errors.Is(err, errPanicked) {
			_ = g.db.Close()
		}
		return nil, fmt.Errorf("open disk cache file %s: %w", path, err)
	}
	return g, nil
}

// get answers a chunk's bytes, nil if it is not here, errDamaged if it is but wrong.
func (g *generation) get(name []byte, length int64) (data []byte, err error) {
	var sum uint32
	err = guard(func() error {
		return g.db.View(func(tx *bbolt.Tx) error {
			value := tx.Bucket(chunkBucket).Get(name)
			if value == nil {
				return nil
			}
			if int64(len(value)) != 4+length {
				return errDamaged
			}
			sum = binary.BigEndian.Uint32(value)
			data = append(make([]byte, 0, length), value[4:]...)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read disk cache file %s: %w", g.path, err)
	}
	if data != nil && chunkSum(name, data) != sum {
		return nil, errDamaged
	}
	return data, nil
}

func chunkSum(name []byte, parts ...[]byte) uint32 {
	sum := crc32.Checksum(name, castagnoli)
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// put stores chunks, all or, if the file would become too large, none.
func (g *generation) put(ops []diskOp, chunkBytes int64) error {
	return g.update(func(b *bbolt.Bucket) error {
		for _, op := range ops {
			name := diskKey(op.chunk.id, chunkBytes)
			value := make([]byte, 4, 4+op.chunk.size)
			binary.BigEndian.PutUint32(value, chunkSum(name, op.chunk.parts...))
			for _, p := range op.chunk.parts {
				value = append(value, p...)
			}
			if err := b.Put(name, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// delete removes chunks; those that are not here are not an error.
func (g *generation) delete(names [][]byte) error {
	return g.update(func(b *bbolt.Bucket) error {
		for _, name := range names {
			if err := b.Delete(name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *generation) update(change func(*bbolt.Bucket) error) error {
	err := guard(func() error {
		return g.db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket(chunkBucket)) })
	})
	if err != nil {
		return fmt.Errorf("write disk cache file %s: %w", g.path, err)
	}
	return nil
}

func (g *generation) sync() error { return guard(g.db.Sync) }

func (g *generation) close() { _ = guard(g.db.Close) } // everything that counts was written before

// remove deletes the file and answers how many chunks were in it.
func (g *generation) remove() (chunks int) {
	_ = guard(func() error {
		return g.db.View(func(tx *bbolt.Tx) error {
			chunks = tx.Bucket(chunkBucket).Stats().KeyN
			return nil
		})
	})
	g.close()
	_ = os.Remove(g.path) // a file that stays is found and dropped by the next process
	return chunks
}

// size answers the bytes of the file.
func (g *generation) size() int64 {
	info, err := os.Stat(g.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// guard turns a panic into an error: bbolt trusts its file, and follows what a damaged page says out of the mapping.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", errPanicked, cause)
		}
	}()
	return do()
}
