package state

import "math"

// The encodings of the ops but CommitObject, field by field. A number is never reused for another meaning. A field that is added must
// belong to a higher level, mean at zero what was before it, and be written by agents only after RaiseLevel.

func (o OpenSession) encode(w *writer) {
	w.uuid(1, o.Session)
	w.int(2, int64(o.NodeID))
	w.string(3, o.Agent)
	w.string(4, o.Address)
	w.string(5, o.Zone)
	w.uint(6, uint64(o.Level))
	w.string(7, o.Peer)
	encodeListeners(w, 8, o.Listeners)
}

func encodeListeners(w *writer, field int, listeners []Listener) {
	for _, l := range listeners {
		w.message(field, func(w *writer) {
			w.string(1, l.Name)
			w.string(2, l.Address)
		})
	}
}

func decodeListener(r *reader) (l Listener) {
	r.message(func(r *reader) {
		switch r.field {
		case 1:
			l.Name = r.string()
		case 2:
			l.Address = r.string()
		default:
			r.skip()
		}
	})
	return l
}

func decodeOpenSession(r *reader) Op {
	var o OpenSession
	for r.next() {
		switch r.field {
		case 1:
			o.Session = r.uuid()
		case 2:
			o.NodeID = r.int32()
		case 3:
			o.Agent = r.string()
		case 4:
			o.Address = r.string()
		case 5:
			o.Zone = r.string()
		case 6:
			o.Level = uint32(r.uintUpTo(math.MaxUint32))
		case 7:
			o.Peer = r.string()
		case 8:
			o.Listeners = append(o.Listeners, decodeListener(r))
		default:
			r.skip()
		}
	}
	return o
}

func (o CloseSession) encode(w *writer) { w.uuid(1, o.Session) }

func decodeCloseSession(r *reader) Op {
	var o CloseSession
	for r.next() {
		switch r.field {
		case 1:
			o.Session = r.uuid()
		default:
			r.skip()
		}
	}
	return o
}

func (o LeaveSession) encode(w *writer) { w.uuid(1, o.Session) }

func decodeLeaveSession(r *reader) Op { return LeaveSession(decodeCloseSession(r).(CloseSession)) }

func (o StepAside) encode(w *writer) {
	w.uuid(1, o.Session)
	w.bool(2, o.Back)
}

func decodeStepAside(r *reader) Op {
	var o StepAside
	for r.next() {
		switch r.field {
		case 1:
			o.Session = r.uuid()
		case 2:
			o.Back = r.bool()
		default:
			r.skip()
		}
	}
	return o
}

func (o RaiseLevel) encode(w *writer) { w.uint(1, uint64(o.Level)) }

func decodeRaiseLevel(r *reader) Op {
	var o RaiseLevel
	for r.next() {
		switch r.field {
		case 1:
			o.Level = uint32(r.uintUpTo(math.MaxUint32))
		default:
			r.skip()
		}
	}
	return o
}

func (o CreateTopic) encode(w *writer) {
	w.uuid(1, o.Topic)
	w.string(2, o.Name)
	w.int(3, int64(o.Partitions))
	w.int(4, int64(o.ReplicationFactor))
	for _, c := range o.Configs {
		w.message(5, c.encode)
	}
}

func decodeCreateTopic(r *reader) Op {
	var o CreateTopic
	for r.next() {
		switch r.field {
		case 1:
			o.Topic = r.uuid()
		case 2:
			o.Name = r.string()
		case 3:
			o.Partitions = r.int32()
		case 4:
			o.ReplicationFactor = r.int16()
		case 5:
			o.Configs = append(o.Configs, decodeConfig(r))
		default:
			r.skip()
		}
	}
	return o
}

func (o DeleteTopic) encode(w *writer) { w.uuid(1, o.Topic) }

func decodeDeleteTopic(r *reader) Op {
	var o DeleteTopic
	for r.next() {
		switch r.field {
		case 1:
			o.Topic = r.uuid()
		default:
			r.skip()
		}
	}
	return o
}

func (o CreatePartitions) encode(w *writer) {
	w.uuid(1, o.Topic)
	w.int(2, int64(o.Count))
}

func decodeCreatePartitions(r *reader) Op {
	var o CreatePartitions
	for r.next() {
		switch r.field {
		case 1:
			o.Topic = r.uuid()
		case 2:
			o.Count = r.int32()
		default:
			r.skip()
		}
	}
	return o
}

func (o AlterConfigs) encode(w *writer) {
	w.uint(1, uint64(o.Type))
	w.uuid(2, o.Topic)
	w.string(3, o.Broker)
	w.uint(4, o.Expect)
	for _, c := range o.Set {
		w.message(5, c.encode)
	}
	for _, name := range o.Remove {
		w.repeatedString(6, name)
	}
}

func decodeAlterConfigs(r *reader) Op {
	var o AlterConfigs
	for r.next() {
		switch r.field {
		case 1:
			o.Type = ResourceType(r.uintUpTo(math.MaxUint8))
		case 2:
			o.Topic = r.uuid()
		case 3:
			o.Broker = r.string()
		case 4:
			o.Expect = r.uint()
		case 5:
			o.Set = append(o.Set, decodeConfig(r))
		case 6:
			o.Remove = append(o.Remove, r.string())
		default:
			r.skip()
		}
	}
	return o
}

func (SkipObject) encode(*writer) {}

func decodeSkipObject(r *reader) Op {
	for r.next() {
		r.skip()
	}
	return SkipObject{}
}

func (o AllocateProducerIDs) encode(w *writer) { w.int(1, int64(o.Count)) }

func decodeAllocateProducerIDs(r *reader) Op {
	var o AllocateProducerIDs
	for r.next() {
		switch r.field {
		case 1:
			o.Count = r.int32()
		default:
			r.skip()
		}
	}
	return o
}

func (o ExpireProducers) encode(w *writer) { encodeExpiry(w, o.Before, o.Limit) }

func decodeExpireProducers(r *reader) Op {
	before, limit := decodeExpiry(r)
	return ExpireProducers{Before: before, Limit: limit}
}

func encodeExpiry(w *writer, before int64, limit int32) {
	w.int(1, before)
	w.int(2, int64(limit))
}

func decodeExpiry(r *reader) (before int64, limit int32) {
	for r.next() {
		switch r.field {
		case 1:
			before = r.int()
		case 2:
			limit = r.int32()
		default:
			r.skip()
		}
	}
	return before, limit
}

func (o AdvanceLogStart) encode(w *writer) {
	w.uuid(1, o.Topic)
	w.int(2, int64(o.Partition))
	w.int(3, o.Offset)
}

func decodeAdvanceLogStart(r *reader) Op {
	var o AdvanceLogStart
	for r.next() {
		switch r.field {
		case 1:
			o.Topic = r.uuid()
		case 2:
			o.Partition = r.int32()
		case 3:
			o.Offset = r.int()
		default:
			r.skip()
		}
	}
	return o
}

func (o NoteTrim) encode(w *writer) { w.uint(1, o.Through) }

func decodeNoteTrim(r *reader) Op {
	var o NoteTrim
	for r.next() {
		switch r.field {
		case 1:
			o.Through = r.uint()
		default:
			r.skip()
		}
	}
	return o
}
