package state

import (
	"bytes"
	"testing"
)

func TestSizeHintIsNotBelowTheEncodedSize(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 5000))
	batch := Batch{Len: 1 << 20, Attributes: -1, Count: 1 << 30, MaxTimestamp: 1 << 60, ProducerID: 1 << 60, ProducerEpoch: 1 << 14, FirstSequence: 1 << 30}
	for _, op := range []Op{
		CommitObject{Attempt: 1 << 30, Size: 1 << 31, Runs: []Run{
			{Topic: UUID{1}, Partition: 1 << 30, Pos: 1 << 31, AcceptIndex: 1 << 60, Batches: []Batch{batch, batch, batch}},
			{Topic: UUID{2}, Partition: 1, Batches: make([]Batch, 100)},
		}},
		WriteGroup{Claim: 1 << 60, Group: Group{ID: long, Protocol: long, Members: []Member{{
			ID: long, Instance: long, ClientID: long, Assignment: []byte(long), Protocols: []Protocol{{Name: long, Metadata: []byte(long)}},
		}}}},
		CommitOffsets{Group: long, Member: long, Offsets: []OffsetCommit{{Offset: 1 << 60, LeaderEpoch: -1, Metadata: long}, {}}},
		CreateTopic{Name: long, Configs: []Config{{Name: long, Value: long}}},
		AlterConfigs{Set: []Config{{Name: long, Value: long}}, Remove: []string{long}},
		OpenSession{Agent: long, Address: long, Zone: long, Peer: long, Listeners: []Listener{{long, long}}},
		DeleteGroup{Group: long}, ClaimGroup{Group: long}, SkipObject{},
	} {
		encoded := len(EncodeEntry(Entry{Commands: []Command{{Session: UUID{1}, Lane: 1, Number: 1 << 60, Settled: 1 << 60, Time: 1 << 60, Op: op}}}))
		if hint := SizeHint(op); hint < encoded-40 { // 40: the envelope, once
			t.Errorf("%T: hint %d for %d bytes", op, hint, encoded)
		}
	}
}
