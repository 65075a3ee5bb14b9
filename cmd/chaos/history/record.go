package history

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// Place is a partition of a topic.
type Place struct {
	Topic     string
	Partition int32
}

func (p Place) String() string { return p.Topic + "/" + strconv.Itoa(int(p.Partition)) }

// Mark tells which record it is: the number-th, from 1, that a producer sent to a partition. Producers are counted from 1, and
// one that begins anew is another one.
type Mark struct{ producer, number int32 }

func (m Mark) String() string { return fmt.Sprintf("record %d of producer %d", m.number, m.producer) }

// Value makes the record's value. Its bytes follow from place and mark alone, so that whoever reads it can tell whether it was
// changed. Length and content differ from record to record.
func (m Mark) Value(p Place) []byte {
	value := fmt.Appendf(nil, "%s %d %d ", p, m.producer, m.number)
	rng := rand.New(rand.NewPCG(uint64(m.producer), uint64(m.number)))
	for range 20 + rng.IntN(280) {
		value = append(value, byte('a'+rng.IntN(26)))
	}
	return value
}

// parse reads a value back; it refuses what Value would not have made for that place.
func parse(p Place, value []byte) (m Mark, err error) {
	var at string
	if _, err := fmt.Fscanf(bytes.NewReader(value), "%s %d %d ", &at, &m.producer, &m.number); err != nil {
		return m, fmt.Errorf("no record of ours: %.60q", value)
	}
	if !bytes.Equal(m.Value(p), value) {
		return m, fmt.Errorf("not what was sent to %s: %.60q, %d bytes", p, value, len(value))
	}
	return m, nil
}
