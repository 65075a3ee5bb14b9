package state

import (
	"encoding/binary"
	"fmt"
	"math"
)

// CommitObject is the command of the hot path and most of every journal, so its runs are packed without tags:
//
//	field 1  attempt   field 2  size   field 3  topic ids, 16 bytes each   field 4  runs
//
//	run:    topic      uvarint  position in field 3, from 0
//	        partition  zigzag   minus that of the run before
//	        pos        zigzag   minus the end of the run before
//	        accept     zigzag   accept index, minus that of the run before
//	        n          uvarint  batches
//	batch:  flags      uvarint  see below; any other bit stops the replica like an unknown field
//	        len        uvarint  int32 as uint32, bytes
//	        count      uvarint  int32 as uint32
//	        attributes zigzag   if flagAttributes, else 0
//	        time       zigzag   largest timestamp, minus that of the last batch that has one; unless flagNoTimestamp: -1
//	        producer   zigzag   if flagProducer: id, minus that of the last batch that has one
//	        epoch      zigzag   if flagProducer
//	        sequence   zigzag   if flagProducer: the first one
//	        sequence   zigzag   if flagSameProducer (id and epoch as in the batch before): minus the one that would follow it
//
// Without flagProducer and flagSameProducer the batch is not idempotent: the id is -1, epoch and sequence mean nothing and
// read as 0.
const (
	flagAttributes   = 1
	flagNoTimestamp  = 2
	flagProducer     = 4
	flagSameProducer = 8
	flagsKnown       = 15
)

// The fewest bytes that a run and a batch have.
const (
	minRun   = 5
	minBatch = 3
)

// packing is what runs and batches are written relative to.
type packing struct {
	partition int64
	end       int64
	accept    uint64
	time      int64
	producer  int64
	epoch     int16
	sequence  int64 // that would follow the batch before
	same      bool  // whether the batch before was idempotent
}

func (p *packing) after(b *Batch) {
	p.end += int64(b.Len)
	if b.MaxTimestamp != -1 {
		p.time = b.MaxTimestamp
	}
	if p.same = b.ProducerID != -1; p.same {
		p.producer, p.epoch = b.ProducerID, b.ProducerEpoch
		p.sequence = int64(b.FirstSequence) + int64(b.Count)
	}
}

func (o CommitObject) encode(w *writer) {
	w.uint(1, uint64(o.Attempt))
	w.int(2, o.Size)
	topics := make([]byte, 0, 64)
	runs := make([]byte, 0, 32*len(o.Runs))
	positions := make(map[UUID]uint64)
	var p packing
	for i := range o.Runs {
		r := &o.Runs[i]
		at, ok := positions[r.Topic]
		if !ok {
			at = uint64(len(positions))
			positions[r.Topic] = at
			topics = append(topics, r.Topic[:]...)
		}
		runs = binary.AppendUvarint(runs, at)
		runs = binary.AppendUvarint(runs, zigzag(int64(r.Partition)-p.partition))
		runs = binary.AppendUvarint(runs, zigzag(r.Pos-p.end))
		runs = binary.AppendUvarint(runs, zigzag(int64(r.AcceptIndex-p.accept)))
		runs = binary.AppendUvarint(runs, uint64(len(r.Batches)))
		p.partition, p.end, p.accept = int64(r.Partition), r.Pos, r.AcceptIndex
		for j := range r.Batches {
			runs = r.Batches[j].pack(runs, &p)
		}
	}
	w.bytes(3, topics)
	w.bytes(4, runs)
}

func (b *Batch) pack(to []byte, p *packing) []byte {
	same := p.same && b.ProducerID == p.producer && b.ProducerEpoch == p.epoch
	var flags uint64
	if b.Attributes != 0 {
		flags |= flagAttributes
	}
	if b.MaxTimestamp == -1 {
		flags |= flagNoTimestamp
	}
	if same {
		flags |= flagSameProducer
	} else if b.ProducerID != -1 {
		flags |= flagProducer
	}
	to = binary.AppendUvarint(to, flags)
	to = binary.AppendUvarint(to, uint64(uint32(b.Len)))
	to = binary.AppendUvarint(to, uint64(uint32(b.Count)))
	if flags&flagAttributes != 0 {
		to = binary.AppendUvarint(to, zigzag(int64(b.Attributes)))
	}
	if flags&flagNoTimestamp == 0 {
		to = binary.AppendUvarint(to, zigzag(b.MaxTimestamp-p.time))
	}
	switch {
	case same:
		to = binary.AppendUvarint(to, zigzag(int64(b.FirstSequence)-p.sequence))
	case flags&flagProducer != 0:
		to = binary.AppendUvarint(to, zigzag(b.ProducerID-p.producer))
		to = binary.AppendUvarint(to, zigzag(int64(b.ProducerEpoch)))
		to = binary.AppendUvarint(to, zigzag(int64(b.FirstSequence)))
	}
	p.after(b)
	return to
}

func decodeCommitObject(r *reader) Op {
	var o CommitObject
	var topics []byte
	for r.next() {
		switch r.field {
		case 1:
			o.Attempt = uint32(r.uintUpTo(math.MaxUint32))
		case 2:
			o.Size = r.int()
		case 3:
			topics = r.raw()
			if len(topics)%16 != 0 {
				r.corrupt("topic ids")
			}
		case 4:
			o.decodeRuns(r, topics)
		default:
			r.skip()
		}
	}
	return o
}

func (o *CommitObject) decodeRuns(r *reader, topics []byte) {
	m := reader{b: r.raw(), field: r.field, unknown: r.unknown}
	var p packing
	for m.err == nil && len(m.b) > 0 {
		var run Run
		at := m.below(uint64(len(topics) / 16))
		if m.err == nil {
			copy(run.Topic[:], topics[at*16:])
		}
		run.Partition = m.packed32(p.partition)
		run.Pos = p.end + m.varint()
		run.AcceptIndex = p.accept + uint64(m.varint())
		n := m.below(uint64(len(m.b)/minBatch) + 1)
		p.partition, p.end, p.accept = int64(run.Partition), run.Pos, run.AcceptIndex
		if n > 0 {
			run.Batches = make([]Batch, n)
		}
		for i := range run.Batches {
			run.Batches[i].unpack(&m, &p)
		}
		o.Runs = append(o.Runs, run)
	}
	if r.err == nil {
		r.err = m.err
	}
}

func (b *Batch) unpack(m *reader, p *packing) {
	flags := m.uvarint()
	if flags&^flagsKnown != 0 || flags&flagSameProducer != 0 && !p.same {
		if m.err == nil {
			m.err = fmt.Errorf("%w: flags %x of a batch", m.unknown, flags)
		}
		return
	}
	b.Len = int32(uint32(m.below(math.MaxUint32 + 1)))
	b.Count = int32(uint32(m.below(math.MaxUint32 + 1)))
	if flags&flagAttributes != 0 {
		b.Attributes = m.packed16()
	}
	b.MaxTimestamp = -1
	if flags&flagNoTimestamp == 0 {
		b.MaxTimestamp = p.time + m.varint()
	}
	b.ProducerID = -1
	switch {
	case flags&flagSameProducer != 0:
		b.ProducerID, b.ProducerEpoch = p.producer, p.epoch
		b.FirstSequence = m.packed32(p.sequence)
	case flags&flagProducer != 0:
		b.ProducerID = p.producer + m.varint()
		b.ProducerEpoch = m.packed16()
		b.FirstSequence = m.packed32(0)
	}
	p.after(b)
}

// packed32 reads an int32 that was written as the difference to base.
func (r *reader) packed32(base int64) int32 {
	v := base + r.varint()
	if v != int64(int32(v)) {
		r.corrupt("range")
		return 0
	}
	return int32(v)
}

func (r *reader) packed16() int16 {
	v := r.varint()
	if v != int64(int16(v)) {
		r.corrupt("range")
		return 0
	}
	return int16(v)
}
