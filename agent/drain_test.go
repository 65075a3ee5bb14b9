package agent

import (
	"testing"
	"time"
)

// TestAnAgentsLastSecondsAreFewerThanSupervisorsGive: docker stop kills after ten.
func TestAnAgentsLastSecondsAreFewerThanSupervisorsGive(t *testing.T) {
	const patience = 10 * time.Second
	if endTime >= patience || leaveTime+drainTime+farewell >= patience || handOverTime > leaveTime {
		t.Errorf("it ends after %v, or %v of leaving, %v of draining and %v for its farewell", endTime, leaveTime, drainTime, farewell)
	}
}
