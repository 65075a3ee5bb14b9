package agent

import (
	"testing"
	"time"
)

func TestAnAgentThatCannotLiveWaitsLongerEachTime(t *testing.T) {
	var waits []time.Duration
	for short := range 9 {
		waits = append(waits, pauseAfter(short))
	}
	if waits[0] != 0 || waits[1] != 0 {
		t.Errorf("who slept begins anew at once: %v", waits)
	}
	for i := 2; i < len(waits); i++ {
		if waits[i] < time.Second || waits[i] < waits[i-1] || waits[i] > time.Minute {
			t.Errorf("%v", waits)
		}
	}
}
