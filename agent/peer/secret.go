package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"

	"github.com/leat-stream/leat/objectstore"
)

// The secret object, written once by the first agent of a cluster:
//
//	┌────────┬──────────────┬──────────────┬────────────────────────────┐
//	│ format │ cluster id   │ secret       │ CRC-32C of all before      │
//	│ 1 byte │ 16 bytes     │ 32 bytes     │ 4 bytes, big-endian        │
//	└────────┴──────────────┴──────────────┴────────────────────────────┘
const (
	secretFormat = 1
	secretAt     = 1 + 16
	checksumAt   = secretAt + 32
	secretSize   = checksumAt + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Secret is what agents of one cluster know each other by. It never prints its bytes.
type Secret struct {
	cluster [16]byte
	bytes   [32]byte
}

// The errors of LoadSecret.
var (
	// ErrSecretDamaged: the secret object is not what an agent wrote, or was written for another cluster. Deleting it, with
	// all agents stopped, has the next agent create another one.
	ErrSecretDamaged = errors.New("the cluster's secret is damaged")
	// ErrSecretFormat: a newer version of leat wrote the secret.
	ErrSecretFormat = errors.New("the cluster's secret has a format that this version of leat does not understand")
)

// Format hides the secret from every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// LogValue hides the secret from logs.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// LoadSecret reads the cluster's secret, and creates it if there is none. When agents that start at the same time race for
// that, all answer the one that won. Errors are ErrSecretDamaged, ErrSecretFormat, or the store's; after a store's error one may try again.
func LoadSecret(ctx context.Context, store objectstore.Store, keys objectstore.Keys, cluster [16]byte) (Secret, error) {
	s, err := readSecret(ctx, store, keys, cluster)
	if !errors.Is(err, objectstore.ErrNotFound) {
		return s, err
	}
	mine := Secret{cluster: cluster}
	_, _ = rand.Read(mine.bytes[:]) // never fails
	_, putErr := store.Put(ctx, keys.Secret(), objectstore.NewBody(encodeSecret(mine)), objectstore.IfAbsent())
	if putErr == nil {
		return mine, nil
	}
	// Lost, or ambiguous: either way the secret is what is there, never what was sent. If nothing is there, what was sent may
	// still land, so it must not be used.
	if s, err = readSecret(ctx, store, keys, cluster); err != nil {
		return Secret{}, fmt.Errorf("create %s: %w (then: %w)", keys.Secret(), putErr, err)
	}
	return s, nil
}

func readSecret(ctx context.Context, store objectstore.Store, keys objectstore.Keys, cluster [16]byte) (Secret, error) {
	o, err := store.Get(ctx, keys.Secret(), objectstore.Range{})
	if err != nil {
		return Secret{}, err // names operation and key
	}
	defer o.Reader.Close()
	data, err := io.ReadAll(io.LimitReader(o.Reader, secretSize+1))
	if err != nil {
		return Secret{}, fmt.Errorf("read %s: %w", keys.Secret(), err)
	}
	s, err := decodeSecret(data, cluster)
	if err != nil {
		return Secret{}, fmt.Errorf("%s: %w", keys.Secret(), err)
	}
	return s, nil
}

func encodeSecret(s Secret) []byte {
	b := make([]byte, 0, secretSize)
	b = append(b, secretFormat)
	b = append(b, s.cluster[:]...)
	b = append(b, s.bytes[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeSecret reads what encodeSecret wrote for cluster. No error carries a byte of the secret.
func decodeSecret(b []byte, cluster [16]byte) (Secret, error) {
	switch {
	case len(b) == 0:
		return Secret{}, fmt.Errorf("%w: it is empty", ErrSecretDamaged)
	case b[0] > secretFormat:
		return Secret{}, fmt.Errorf("%w: format %d", ErrSecretFormat, b[0])
	case b[0] != secretFormat || len(b) != secretSize:
		return Secret{}, fmt.Errorf("%w: format %d, %d bytes instead of %d", ErrSecretDamaged, b[0], len(b), secretSize)
	case crc32.Checksum(b[:checksumAt], castagnoli) != binary.BigEndian.Uint32(b[checksumAt:]):
		return Secret{}, fmt.Errorf("%w: checksum", ErrSecretDamaged)
	case !bytes.Equal(b[1:secretAt], cluster[:]):
		return Secret{}, fmt.Errorf("%w: it belongs to cluster %x, this is %x", ErrSecretDamaged, b[1:secretAt], cluster)
	}
	s := Secret{cluster: cluster}
	copy(s.bytes[:], b[secretAt:checksumAt])
	return s, nil
}
