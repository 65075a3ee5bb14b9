package replica

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestAFollowerTellsWhatItLacks: what upstream has applied is known here before it is applied here, and never less is known again.
func TestAFollowerTellsWhatItLacks(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := &Replica{metrics: newMetrics(reg, func() float64 { return 0 })}
	f := &follower{r: &owner{Replica: r}}
	for _, applied := range []uint64{50, 40} { // the second by a longer way
		if err := f.pushed(t.Context(), Push{Applied: applied}); err != nil {
			t.Fatal(err)
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if value := family.GetMetric()[0].GetGauge().GetValue(); family.GetName() == "leat_metadata_known_index" && value != 50 {
				t.Errorf("upstream has applied 50 and then says %d; known is %v", applied, value)
			}
		}
	}
}
