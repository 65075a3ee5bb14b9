package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/leat-stream/leat/metadata/state"
)

// A manifest names the shards of one image. All integers are big endian.
//
//	magic     8 bytes  "LEATSNAP"
//	level     u16      of this layout
//	cluster   16 bytes id of the cluster
//	header    u32 length, then the state's own encoding of the image's header
//	shards    u32 count, then for each, in the order of the header:
//	            index u64   of the image that it was first written for
//	            id    16 bytes
//	            size  u32   bytes
//	            crc   u32   CRC-32C of its bytes
//	crc       u32      CRC-32C of everything before it
const (
	manifestMagic = "LEATSNAP"
	manifestLevel = 1
	shardEntry    = 8 + 16 + 4 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// placed is where the bytes of a shard are.
type placed struct {
	index uint64
	id    [16]byte
	size  uint32
	crc   uint32
}

// manifest is a decoded manifest.
type manifest struct {
	id      [16]byte // random part of its own name; not in its bytes
	cluster [16]byte
	header  state.Header
	places  []placed // one for each shard of the header
}

func (m *manifest) encode() []byte {
	header := m.header.Encode()
	b := append(make([]byte, 0, 64+len(header)+shardEntry*len(m.places)), manifestMagic...)
	b = binary.BigEndian.AppendUint16(b, manifestLevel)
	b = append(b, m.cluster[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(header)))
	b = append(b, header...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.places)))
	for _, p := range m.places {
		b = binary.BigEndian.AppendUint64(b, p.index)
		b = append(b, p.id[:]...)
		b = binary.BigEndian.AppendUint32(b, p.size)
		b = binary.BigEndian.AppendUint32(b, p.crc)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeManifest trusts no length and no count.
func decodeManifest(b []byte) (*manifest, error) {
	bad := func(what string) (*manifest, error) {
		return nil, fmt.Errorf("%w: snapshot manifest: %s", state.ErrCorrupt, what)
	}
	const fixed = len(manifestMagic) + 2 + 16 + 4
	if len(b) < fixed+4+4 || string(b[:len(manifestMagic)]) != manifestMagic {
		return bad("not one")
	}
	if level := binary.BigEndian.Uint16(b[len(manifestMagic):]); level != manifestLevel {
		return nil, fmt.Errorf("%w: snapshot manifest has level %d, this version understands %d", state.ErrLevel, level, manifestLevel)
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return bad("checksum does not fit")
	}
	m := &manifest{cluster: [16]byte(body[len(manifestMagic)+2:])}
	rest := body[fixed-4:]
	length := int64(binary.BigEndian.Uint32(rest))
	rest = rest[4:]
	if length+4 > int64(len(rest)) {
		return bad("header is cut")
	}
	header, err := state.DecodeHeader(rest[:length])
	if err != nil {
		return nil, err
	}
	m.header = header
	rest = rest[length:]
	count := int64(binary.BigEndian.Uint32(rest))
	rest = rest[4:]
	if count != int64(len(header.Shards)) || count*shardEntry != int64(len(rest)) {
		return bad("shards do not fit")
	}
	for ; len(rest) > 0; rest = rest[shardEntry:] {
		m.places = append(m.places, placed{
			index: binary.BigEndian.Uint64(rest), id: [16]byte(rest[8:]),
			size: binary.BigEndian.Uint32(rest[24:]), crc: binary.BigEndian.Uint32(rest[28:]),
		})
	}
	return m, nil
}

// byShard answers where each shard of the manifest is; nothing for a nil manifest.
func (m *manifest) byShard() map[state.ShardInfo]placed {
	places := map[state.ShardInfo]placed{}
	if m == nil {
		return places
	}
	for i, info := range m.header.Shards {
		places[info] = m.places[i]
	}
	return places
}

// IsManifest tells by its first bytes whether b is a manifest.
func IsManifest(b []byte) bool { return bytes.HasPrefix(b, []byte(manifestMagic)) }

// DumpManifest prints what a manifest says, for people.
func DumpManifest(w io.Writer, b []byte) error {
	m, err := decodeManifest(b)
	if err != nil {
		return err
	}
	h := m.header
	fmt.Fprintf(w, "snapshot manifest, level %d, of cluster %x\n", manifestLevel, m.cluster)
	fmt.Fprintf(w, "index %d, state level %d, time %d, state hash %016x, %d shards\n", h.Index, h.Level, h.Time, h.Hash, len(h.Shards))
	for i, s := range h.Shards {
		p := m.places[i]
		fmt.Fprintf(w, "  table %d depth %d number %d changed %d: shard %020d-%x, %d bytes, crc %08x\n",
			s.Table, s.Depth, s.Number, s.Changed, p.index, p.id, p.size, p.crc)
	}
	return nil
}
