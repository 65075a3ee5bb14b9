package objectstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Every name in the bucket, relative to the store's own prefix. Nothing else may compose a key.
//
//	<cluster>/head                                the only mutable object
//	<cluster>/journal/<index>                     one journal entry, created once; index in 20 decimal digits
//	<cluster>/snapshot/<index>/manifest-<random>  manifest of a state image
//	<cluster>/snapshot/shard-<random>             one immutable shard of an image
//	<cluster>/data/<owner>/<number>-<attempt>     a segment; owner: 32 hex digits, number: 16 hex digits, attempt: decimal
//	<cluster>/probe/<random>                      written and deleted by the start-up probe

// Keys makes and parses the names of one cluster.
type Keys struct{ cluster string }

// ErrKey is returned for a name that is not one of Leat's.
var ErrKey = errors.New("not a name of this cluster")

// NewKeys answers the names of cluster, which must be 1 to 64 characters of [a-zA-Z0-9._-] and not "." or "..".
func NewKeys(cluster string) (Keys, error) {
	if cluster == "" || len(cluster) > 64 || cluster == "." || cluster == ".." {
		return Keys{}, fmt.Errorf("cluster name %q: must have 1 to 64 characters and not be . or ..", cluster)
	}
	for _, c := range cluster {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return Keys{}, fmt.Errorf("cluster name %q: only letters, digits, '.', '_' and '-' are allowed", cluster)
		}
	}
	return Keys{cluster: cluster}, nil
}

// Head is the name of the cluster's only mutable object.
func (k Keys) Head() string { return k.cluster + "/head" }

// Journal is the name of the journal entry at index.
func (k Keys) Journal(index uint64) string { return fmt.Sprintf("%s/journal/%020d", k.cluster, index) }

// JournalPrefix is what all journal entries start with.
func (k Keys) JournalPrefix() string { return k.cluster + "/journal/" }

// ParseJournal answers the index that a journal entry's name carries.
func (k Keys) ParseJournal(key string) (uint64, error) {
	digits, ok := strings.CutPrefix(key, k.JournalPrefix())
	if !ok || len(digits) != 20 {
		return 0, fmt.Errorf("%w: %q", ErrKey, key)
	}
	index, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q", ErrKey, key)
	}
	return index, nil
}

// SnapshotManifest is the name of a manifest of the image taken at index. Random makes it unique: two replicas may
// snapshot the same index.
func (k Keys) SnapshotManifest(index uint64, random [16]byte) string {
	return fmt.Sprintf("%s/snapshot/%020d/manifest-%s", k.cluster, index, hex.EncodeToString(random[:]))
}

// SnapshotShard is the name of one immutable shard; random makes it unique.
func (k Keys) SnapshotShard(random [16]byte) string {
	return k.cluster + "/snapshot/shard-" + hex.EncodeToString(random[:])
}

// SnapshotPrefix is what all manifests and shards start with.
func (k Keys) SnapshotPrefix() string { return k.cluster + "/snapshot/" }

// Segment names one data object: the number-th object of its owner (a session or a merge job), in the attempt that
// succeeded.
type Segment struct {
	Owner   [16]byte
	Number  uint64
	Attempt uint32
}

// Data is the name of a segment.
func (k Keys) Data(s Segment) string {
	return fmt.Sprintf("%s%016x-%d", k.DataPrefix(s.Owner), s.Number, s.Attempt)
}

// DataPrefix is what all segments of an owner start with.
func (k Keys) DataPrefix(owner [16]byte) string {
	return k.cluster + "/data/" + hex.EncodeToString(owner[:]) + "/"
}

// ParseData answers what Data printed.
func (k Keys) ParseData(key string) (Segment, error) {
	var s Segment
	bad := fmt.Errorf("%w: %q", ErrKey, key)
	rest, ok := strings.CutPrefix(key, k.cluster+"/data/")
	if !ok || len(rest) < 32+1+16+1+1 || rest[32] != '/' || rest[49] != '-' {
		return s, bad
	}
	if _, err := hex.Decode(s.Owner[:], []byte(rest[:32])); err != nil {
		return s, bad
	}
	number, err := strconv.ParseUint(rest[33:49], 16, 64)
	if err != nil {
		return s, bad
	}
	attempt, err := strconv.ParseUint(rest[50:], 10, 32)
	if err != nil {
		return s, bad
	}
	s.Number, s.Attempt = number, uint32(attempt)
	if k.Data(s) != key {
		return Segment{}, bad
	}
	return s, nil
}

// Probe is the name of a throw-away object of the start-up probe.
func (k Keys) Probe(random [16]byte) string {
	return k.cluster + "/probe/" + hex.EncodeToString(random[:])
}
