package state

import (
	"encoding/binary"
	"fmt"
)

// The body of an entry of commands:
//
//	level    uvarint    of state that the entry needs: a version that does not understand it stops
//	field 1  check index        field 2  check hash, 8 bytes little endian
//	field 3  command, repeated
//
// and of a command:
//
//	field 1  session: only if it is not that of the command before; empty for the zero UUID
//	field 2  lane   field 3  number   field 4  settled   field 5  time   field 6  opcode   field 7  op
//
// An op or field that is not known stops the replica (ErrUnknownCommand): to skip it would be to differ from those that
// know it. Since agents use new ones only after RaiseLevel, which every open session must have announced, only a version
// that was started too late against a newer journal meets one.

// EncodeEntry is the journal body of an entry of commands; its Index, and a fence's Leader, are not part of it. Every op must be set.
func EncodeEntry(e Entry) []byte {
	w := writer{b: binary.AppendUvarint(make([]byte, 0, 128*len(e.Commands)+16), uint64(entryLevel(e)))}
	w.uint(1, e.Check.Index)
	w.fixed64(2, e.Check.Hash)
	var session UUID
	for i := range e.Commands {
		c := &e.Commands[i]
		w.message(3, func(w *writer) {
			w.changedUUID(1, c.Session, session)
			w.uint(2, uint64(c.Lane))
			w.uint(3, c.Number)
			w.uint(4, c.Settled)
			w.int(5, c.Time)
			w.uint(6, uint64(c.Op.opcode()))
			var op writer
			c.Op.encode(&op)
			w.bytes(7, op.b)
		})
		session = c.Session
	}
	return w.b
}

// entryLevel is the lowest level at which all that the entry uses exists. All of it does at level 1.
func entryLevel(Entry) uint32 { return 1 }

// DecodeEntry reads the body of the entry at index. The entry aliases nothing of body. ErrCorrupt, ErrLevel, ErrUnknownCommand.
func DecodeEntry(index uint64, body []byte) (Entry, error) {
	e := Entry{Index: index}
	r := reader{b: body, unknown: ErrUnknownCommand}
	if level := r.uvarint(); r.err == nil && (level < 1 || level > uint64(Level)) {
		return e, fmt.Errorf("entry %d: %w: level %d", index, ErrLevel, level)
	}
	var session UUID
	for r.next() {
		switch r.field {
		case 1:
			e.Check.Index = r.uint()
		case 2:
			e.Check.Hash = r.fixed64()
		case 3:
			c := Command{Session: session}
			c.decode(&r)
			session = c.Session
			e.Commands = append(e.Commands, c)
		default:
			r.skip()
		}
	}
	if r.err != nil {
		return e, fmt.Errorf("entry %d, command %d: %w", index, len(e.Commands), r.err)
	}
	return e, nil
}

func (c *Command) decode(r *reader) {
	var code opcode
	var op []byte
	r.message(func(r *reader) {
		switch r.field {
		case 1:
			c.Session = r.changedUUID()
		case 2:
			c.Lane = Lane(r.uintUpTo(255))
		case 3:
			c.Number = r.uint()
		case 4:
			c.Settled = r.uint()
		case 5:
			c.Time = r.int()
		case 6:
			code = opcode(r.uintUpTo(255))
		case 7:
			op = r.raw()
		default:
			r.skip()
		}
	})
	if r.err != nil {
		return
	}
	m := reader{b: op, unknown: r.unknown}
	if decode := decoders[code]; decode != nil {
		c.Op = decode(&m)
		r.err = m.err
	} else {
		r.err = fmt.Errorf("%w: opcode %d", r.unknown, code)
	}
}

// decoders reads the fields of each op.
var decoders = [256]func(*reader) Op{
	opOpenSession:         decodeOpenSession,
	opCloseSession:        decodeCloseSession,
	opRaiseLevel:          decodeRaiseLevel,
	opLeaveSession:        decodeLeaveSession,
	opStepAside:           decodeStepAside,
	opCreateTopic:         decodeCreateTopic,
	opDeleteTopic:         decodeDeleteTopic,
	opCreatePartitions:    decodeCreatePartitions,
	opAlterConfigs:        decodeAlterConfigs,
	opCommitObject:        decodeCommitObject,
	opSkipObject:          decodeSkipObject,
	opAllocateProducerIDs: decodeAllocateProducerIDs,
	opExpireProducers:     decodeExpireProducers,
	opAdvanceLogStart:     decodeAdvanceLogStart,
	opClaimGroup:          decodeClaimGroup,
	opWriteGroup:          decodeWriteGroup,
	opCommitOffsets:       decodeCommitOffsets,
	opDeleteGroup:         decodeDeleteGroup,
	opExpireOffsets:       decodeExpireOffsets,
	opNoteTrim:            decodeNoteTrim,
}

// changedUUID writes v if it is not before, and no bytes for the zero UUID.
func (w *writer) changedUUID(field int, v, before UUID) {
	switch {
	case v == before:
	case v.IsZero():
		w.repeated(field, nil)
	default:
		w.repeated(field, v[:])
	}
}

func (r *reader) changedUUID() UUID {
	if r.kind == 1 && len(r.data) == 0 {
		return UUID{}
	}
	return r.uuid()
}
