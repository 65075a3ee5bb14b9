package state

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestDesignNamesEveryOpAndBound(t *testing.T) {
	b, err := os.ReadFile("../DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), ",", "")
	lanes := map[Lane]string{LaneObjects: "objects", LaneOther: "other"}
	for _, op := range allOps {
		lane, _ := laneOf(op)
		if want := fmt.Sprintf("| %d | %s | %s |", op.opcode(), reflect.TypeOf(op).Name(), lanes[lane]); !strings.Contains(text, want) {
			t.Errorf("DESIGN.md lacks %q", want)
		}
		if decoders[op.opcode()] == nil {
			t.Errorf("%T has no decoder", op)
		}
	}
	for _, want := range []string{
		fmt.Sprintf("| outcomes kept in a lane | %d |", MaxUnsettled),
		fmt.Sprintf("| partitions of a topic | %d |", MaxPartitions),
		fmt.Sprintf("| %d bytes |", maxString),
		fmt.Sprintf("| producer ids in one allocation | %d |", maxProducerIDs),
		fmt.Sprintf("| remembered batches per producer and partition | %d |", remembered),
		fmt.Sprintf("| names of deleted topics per producer | %d |", tombstones),
		fmt.Sprintf("beyond %d records", shardWeight),
		fmt.Sprintf("the last %d are remembered", rememberedHashes),
		fmt.Sprintf("share the first %d bits", topicBits),
		fmt.Sprintf("| %d | offsets |", TableOffsets),
		fmt.Sprintf("| %d | misc |", TableMisc),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("DESIGN.md lacks %q", want)
		}
	}
}
