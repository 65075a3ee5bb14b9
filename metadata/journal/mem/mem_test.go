package mem_test

import (
	"testing"

	"github.com/leat-stream/leat/metadata/journal/journaltest"
	"github.com/leat-stream/leat/metadata/journal/mem"
)

func fresh(*testing.T) journaltest.Harness {
	log := mem.New()
	return journaltest.Harness{
		Open:       func(*testing.T) journaltest.Process { return journaltest.Process{Journal: log.Open()} },
		RemoveHead: func(*testing.T) { log.RemoveHead() },
		Kept:       func(*testing.T) []uint64 { return log.Indexes() },
	}
}

func TestJournal(t *testing.T)           { journaltest.Run(t, fresh) }
func TestV1LostAck(t *testing.T)         { journaltest.V1LostAck(t, fresh(t)) }
func TestV2DivergedReplica(t *testing.T) { journaltest.V2DivergedReplica(t, fresh(t)) }
func TestV3WrongBase(t *testing.T)       { journaltest.V3WrongBase(t, fresh(t)) }
func TestV4StaleRead(t *testing.T)       { journaltest.V4StaleRead(t, fresh(t)) }
