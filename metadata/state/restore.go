package state

import (
	"fmt"
	"iter"
)

// Restore builds the state of an image from its header and the bytes of all its shards, in any order. An error that shards
// yields ends it and is wrapped. ErrCorrupt if a shard is missing, there twice, not in the header or not sound, or if the hash
// of what came out is not the header's; ErrLevel if the image is of a level that this version does not understand.
func Restore(h Header, shards iter.Seq2[[]byte, error]) (*State, error) {
	s, err := restoreUnverified(h, shards)
	if err != nil {
		return nil, err
	}
	if got := s.Hash(); got != h.Hash {
		return nil, fmt.Errorf("restore image %d: %w: hash is %016x, should be %016x", h.Index, ErrCorrupt, got, h.Hash)
	}
	return s, nil
}

func restoreUnverified(h Header, shards iter.Seq2[[]byte, error]) (*State, error) {
	if h.Level < 1 || h.Level > Level {
		return nil, fmt.Errorf("restore image %d: %w: level %d", h.Index, ErrLevel, h.Level)
	}
	s := New()
	s.level, s.index = h.Level, h.Index
	s.clock = clock{latest: h.Time, steady: h.Steady, began: h.JumpBegan, till: h.JumpTill}
	missing := make(map[ShardInfo]bool, len(h.Shards))
	for _, info := range h.Shards {
		missing[info] = true
	}
	for b, err := range shards {
		if err != nil {
			return nil, fmt.Errorf("restore image %d: %w", h.Index, err)
		}
		info, err := s.restoreShard(b, missing)
		if err != nil {
			return nil, fmt.Errorf("restore image %d: shard %+v: %w", h.Index, info, err)
		}
		delete(missing, info)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("restore image %d: %w: %d shards are missing", h.Index, ErrCorrupt, len(missing))
	}
	s.hashes[s.index%rememberedHashes] = Check{s.index, s.Hash()}
	return s, nil
}

func (s *State) restoreShard(b []byte, missing map[ShardInfo]bool) (ShardInfo, error) {
	info, _, err := walkShard(b, func(info ShardInfo) error {
		if !missing[info] {
			return fmt.Errorf("%w: not expected", ErrCorrupt)
		}
		return nil
	}, func(info ShardInfo, r *reader, d []UUID) error {
		s.restoreRecord(info, r, d)
		return r.err
	})
	return info, err
}

// walkShard reads one shard. It calls begin with what the shard says about itself, before it believes anything else, then record
// for each record, of which there is at least one, with the ids that the records refer to. An error of either ends it. It answers what
// the shard says about itself, and how many ids it has. ErrCorrupt, ErrLevel.
func walkShard(
	b []byte, begin func(ShardInfo) error, record func(ShardInfo, *reader, []UUID) error,
) (info ShardInfo, ids int, err error) {
	if len(b) == 0 {
		return info, 0, fmt.Errorf("%w: empty", ErrCorrupt)
	}
	if b[0] != shardFormat {
		return info, 0, fmt.Errorf("%w: format %d", ErrLevel, b[0])
	}
	r := reader{b: b[1:], unknown: ErrLevel}
	var d []UUID
	begun := false
	for r.next() {
		if r.field > 4 && !begun {
			if err := begin(info); err != nil {
				return info, 0, err
			}
			begun = true
		}
		switch r.field {
		case 1:
			info.Table = Table(r.uintUpTo(255))
		case 2:
			info.Depth = uint8(r.uintUpTo(maxDepth))
		case 3:
			info.Number = uint32(r.uintUpTo(1<<32 - 1))
		case 4:
			info.Changed = r.uint()
		case 5:
			raw := r.raw()
			if len(raw)%16 != 0 {
				r.corrupt("dictionary")
				break
			}
			for ; len(raw) > 0; raw = raw[16:] {
				d = append(d, UUID(raw[:16]))
			}
		case 6:
			m := reader{b: r.raw(), unknown: r.unknown}
			if r.err == nil {
				r.err = record(info, &m, d)
			}
		default:
			r.skip()
		}
	}
	if r.err == nil && !begun { // a shard is never empty
		r.corrupt("records")
	}
	return info, len(d), r.err
}

// restoreRecord adds one record to its table. Whatever the record says, the state stays one that Apply and Reader can work on;
// that it is the right one is for the hash to tell.
func (s *State) restoreRecord(info ShardInfo, r *reader, d []UUID) {
	at := info.Changed
	switch info.Table {
	case TableMisc:
		m := decodeMisc(r)
		m.touch(at)
		if r.err == nil {
			s.misc = *m
		}
	case TableTopics:
		t := decodeTopic(r, d)
		_, named := s.topics.names[t.name]
		_, collides := s.topics.collision(t.name)
		if _, ok := s.topics.get(t.id); ok || named || collides {
			r.corrupt("repeated record")
		}
		if r.err == nil {
			s.topics.insert(t, at)
		}
	case TableConfigs:
		if c := decodeConfigs(r, d); r.err == nil {
			s.configs.set(c, at)
		}
	case TablePartitions:
		s.restorePartition(r, d, at)
	case TableSessions:
		insertNew(r, &s.sessions.trie, decodeSession(r, d), uuidHash, func(x *session) { s.sessions.insert(x, at) })
	case TableEnded:
		insertNew(r, &s.sessions.ended, decodeEnded(r, d), uuidHash, func(x ended) { s.sessions.insertEnded(x, at) })
	case TableProducers:
		insertNew(r, &s.producers.trie, decodeProducer(r, d), producerHash, func(x *producer) { s.producers.insert(x, at) })
	case TableClaims:
		if c := decodeClaim(r, d); r.err == nil {
			s.groups.setClaim(c, at)
		}
	case TableGroups:
		if g := decodeGroupRecord(r, d); r.err == nil {
			s.groups.set(g.Group, at)
		}
	case TableOffsets:
		insertNew(r, &s.offsets.trie, decodeOffsets(r, d), stringHash, func(x *groupOffsets) { s.offsets.insert(x, at) })
	default:
		r.err = fmt.Errorf("%w: table %d", ErrLevel, info.Table)
	}
}

// insertNew calls insert unless the record is unsound or its key is there already.
func insertNew[K comparable, V record[K, V]](r *reader, t *trie[K, V], v V, hash func(K) uint64, insert func(V)) {
	if r.err != nil {
		return
	}
	if _, ok := t.get(hash(v.key()), v.key()); ok {
		r.corrupt("repeated record")
		return
	}
	insert(v)
}

func (s *State) restorePartition(r *reader, d []UUID, at uint64) {
	p, found := decodePartition(r, d)
	for i := range found {
		if o, ok := s.objects.names[found[i].name]; ok && o.size != found[i].size {
			r.corrupt("size of an object")
		}
	}
	insertNew(r, &s.partitions.trie, p, partitionHash, func(p *partition) {
		extents := p.extents
		p.extents = make([]extent, 0, len(extents))
		p.gen = s.partitions.trie.gen
		s.partitions.trie.put(partitionHash(p.key()), p, at)
		for i, e := range extents {
			e.object = s.objects.reference(found[i].name, found[i].size)
			s.partitions.append(p, e)
		}
		s.partitions.rehash(p)
	})
}
