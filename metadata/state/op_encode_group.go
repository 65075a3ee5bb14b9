package state

func (o ClaimGroup) encode(w *writer) {
	w.string(1, o.Group)
	w.uint(2, o.Replaces)
}

func decodeClaimGroup(r *reader) Op {
	var o ClaimGroup
	for r.next() {
		switch r.field {
		case 1:
			o.Group = r.string()
		case 2:
			o.Replaces = r.uint()
		default:
			r.skip()
		}
	}
	return o
}

func (o WriteGroup) encode(w *writer) {
	w.uint(1, o.Claim)
	w.message(2, o.Group.encode)
}

func decodeWriteGroup(r *reader) Op {
	var o WriteGroup
	for r.next() {
		switch r.field {
		case 1:
			o.Claim = r.uint()
		case 2:
			r.message(o.Group.decodeField)
		default:
			r.skip()
		}
	}
	return o
}

// encode writes the topic of an offset only if it is not that of the offset before; an empty field stands for the zero UUID.
func (o CommitOffsets) encode(w *writer) {
	w.string(1, o.Group)
	w.int(2, int64(o.Generation))
	w.string(3, o.Member)
	w.string(4, o.Instance)
	var topic UUID
	for i := range o.Offsets {
		c := &o.Offsets[i]
		w.message(5, func(w *writer) {
			w.changedUUID(1, c.Topic, topic)
			w.int(2, int64(c.Partition))
			w.int(3, c.Offset)
			w.int(4, int64(c.LeaderEpoch))
			w.string(5, c.Metadata)
		})
		topic = c.Topic
	}
	w.uint(6, o.Accepted)
}

func decodeCommitOffsets(r *reader) Op {
	var o CommitOffsets
	var topic UUID
	for r.next() {
		switch r.field {
		case 1:
			o.Group = r.string()
		case 2:
			o.Generation = r.int32()
		case 3:
			o.Member = r.string()
		case 4:
			o.Instance = r.string()
		case 5:
			c := OffsetCommit{TopicPartition: TopicPartition{Topic: topic}}
			r.message(c.decodeField)
			topic = c.Topic
			o.Offsets = append(o.Offsets, c)
		case 6:
			o.Accepted = r.uint()
		default:
			r.skip()
		}
	}
	return o
}

func (c *OffsetCommit) decodeField(r *reader) {
	switch r.field {
	case 1:
		c.Topic = r.changedUUID()
	case 2:
		c.Partition = r.int32()
	case 3:
		c.Offset = r.int()
	case 4:
		c.LeaderEpoch = r.int32()
	case 5:
		c.Metadata = r.string()
	default:
		r.skip()
	}
}

func (o DeleteGroup) encode(w *writer) { w.string(1, o.Group) }

func decodeDeleteGroup(r *reader) Op {
	var o DeleteGroup
	for r.next() {
		switch r.field {
		case 1:
			o.Group = r.string()
		default:
			r.skip()
		}
	}
	return o
}

func (o ExpireOffsets) encode(w *writer) { encodeExpiry(w, o.Before, o.Limit) }

func decodeExpireOffsets(r *reader) Op {
	before, limit := decodeExpiry(r)
	return ExpireOffsets{Before: before, Limit: limit}
}
