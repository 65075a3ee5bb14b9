package objectstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Every name in the bucket, relative to the store's own prefix. Nothing else may compose a key.
//
//	<cluster>/head                                the only mutable object
//	<cluster>/secret                              what agents of the cluster know each other by, created once
//	<cluster>/journal/<index>                     one journal entry, created once; index in 20 decimal digits
//	<cluster>/snapshot/<index>-manifest-<random>  manifest of the state image taken at index
//	<cluster>/snapshot/<index>-shard-<random>     one immutable shard, first written for the image taken at index
//	<cluster>/data/<owner>/<number>-<attempt>     a segment; owner: 32 hex digits, number: 16 hex digits, attempt: decimal
//	<cluster>/probe/<random>                      written and deleted by probes, at the start and while the bucket seems away

// Keys makes and parses the names of one cluster.
type Keys struct{ cluster string }

// ErrKey is returned for a name that is not one of Leat's.
var ErrKey = errors.New("not a name of this cluster")

// CheckKey refuses what no driver takes as a key, so that every driver takes the same ones: a key has 1 to 1024 bytes of
// UTF-8 without control characters or backslashes, in parts between slashes that are neither empty nor "." nor "..". Hence no
// key leaves its folder or its prefix. Drivers call it first; the error matches ErrKey and ErrNotApplied.
func CheckKey(key string) error {
	if key == "" || len(key) > 1024 || !utf8.ValidString(key) {
		return badKey("must have 1 to 1024 bytes of UTF-8")
	}
	if strings.ContainsFunc(key, func(c rune) bool { return unicode.IsControl(c) || c == '\\' }) {
		return badKey("control characters and backslashes are not allowed")
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return badKey(fmt.Sprintf("the part %q is not allowed", part))
		}
	}
	return nil
}

// badKey says why a key is illegal.
type badKey string

func (e badKey) Error() string { return "illegal key: " + string(e) }

func (e badKey) Is(target error) bool { return target == ErrKey || target == ErrNotApplied }

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

// Secret is the name of the random secret that agents of the cluster prove to each other that they know.
func (k Keys) Secret() string { return k.cluster + "/secret" }

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
	return k.snapshot(index, "manifest", random)
}

// SnapshotShard is the name of one immutable shard, first written for the image taken at index; random makes it unique.
// Later images may name it too. The index tells a sweep that no image still to come can begin to name it.
func (k Keys) SnapshotShard(index uint64, random [16]byte) string {
	return k.snapshot(index, "shard", random)
}

func (k Keys) snapshot(index uint64, part string, random [16]byte) string {
	return fmt.Sprintf("%s%020d-%s-%s", k.SnapshotPrefix(), index, part, hex.EncodeToString(random[:]))
}

// ParseSnapshot answers what SnapshotManifest or SnapshotShard printed.
func (k Keys) ParseSnapshot(key string) (index uint64, manifest bool, random [16]byte, err error) {
	bad := fmt.Errorf("%w: %q", ErrKey, key)
	rest, ok := strings.CutPrefix(key, k.SnapshotPrefix())
	if !ok {
		return 0, false, random, bad
	}
	parts := strings.Split(rest, "-")
	if len(parts) != 3 || len(parts[2]) != 32 || (parts[1] != "manifest" && parts[1] != "shard") {
		return 0, false, random, bad
	}
	if index, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return 0, false, random, bad
	}
	if _, err = hex.Decode(random[:], []byte(parts[2])); err != nil {
		return 0, false, random, bad
	}
	if k.snapshot(index, parts[1], random) != key {
		return 0, false, random, bad
	}
	return index, parts[1] == "manifest", random, nil
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

// Probe is the name of a throw-away object of a probe. What one that landed late has left, a few bytes, says nothing and may be deleted.
func (k Keys) Probe(random [16]byte) string {
	return k.cluster + "/probe/" + hex.EncodeToString(random[:])
}
