package state

import (
	"testing"
	"time"
)

func TestR13SteadyTimeFollowsSmallStepsAndWaitsAfterAJump(t *testing.T) {
	const hour = int64(time.Hour / time.Millisecond)
	start := int64(1_700_000_000_000)
	for name, c := range map[string]struct {
		ticks  []int64 // hours after start
		steady int64   // hours after start
	}{
		"small steps":                           {[]int64{0, 1, 2, 7}, 7},
		"an older time changes nothing":         {[]int64{0, 5, 2}, 5},
		"a jump is not believed":                {[]int64{0, 1, 9000}, 1},
		"nor soon afterwards":                   {[]int64{0, 1, 9000, 9001, 9005}, 1},
		"a weekend without commands, and a day": {[]int64{0, 1, 60, 62, 65, 66}, 66},
		"a clock that was mended":               {[]int64{0, 1, 9000, 2, 3}, 3},
		"two clocks of which one is wrong":      {[]int64{0, 1, 9000, 2, 9003, 3, 9007, 4, 9010}, 4},
		"a second jump begins anew":             {[]int64{0, 1, 60, 64, 200, 203}, 1},
		"and is confirmed by itself":            {[]int64{0, 1, 60, 64, 200, 203, 206}, 206},
	} {
		t.Run(name, func(t *testing.T) {
			var k clock
			for _, h := range c.ticks {
				k.tick(start + h*hour)
			}
			if got := (k.steady - start) / hour; got != c.steady {
				t.Errorf("steady is hour %d, want %d", got, c.steady)
			}
		})
	}
}

// TestR13AWrongClockExpiresNothing: one agent believes that it is next year.
func TestR13AWrongClockExpiresNothing(t *testing.T) {
	now := int64(1_700_000_000_000)
	year := int64(365 * 24 * time.Hour / time.Millisecond)
	s := New()
	apply := func(time int64, ops ...Op) (results []Result) {
		t.Helper()
		e := Entry{Index: s.index + 1}
		for _, op := range ops {
			e.Commands = append(e.Commands, Command{Time: time, Op: op})
		}
		results, _, err := s.Apply(e)
		if err != nil {
			t.Fatal(err)
		}
		return results
	}
	apply(now, OpenSession{Session: id("s"), NodeID: -1, Level: 1}, CreateTopic{Topic: id("t"), Name: "t", Partitions: 1, ReplicationFactor: 1},
		CommitOffsets{Group: "g", Generation: -1, Offsets: []OffsetCommit{{TopicPartition: TopicPartition{Topic: id("t")}, Offset: 5}}})
	if r := apply(now+year, ExpireOffsets{Before: now + year - 1, Limit: 100}, ExpireProducers{Before: now + year - 1, Limit: 100}); r[0].Number != 0 || r[1].Number != 0 {
		t.Fatalf("a clock that jumped expired something: %+v", r)
	}
	for h := range int64(8) { // the year has really passed: times move on
		apply(now+year+h*int64(time.Hour/time.Millisecond), NoteTrim{})
	}
	if r := apply(now+year, ExpireOffsets{Before: now + year - 1, Limit: 100}); r[0].Number != 1 {
		t.Fatalf("confirmed time expires nothing: %+v", r)
	}
}
