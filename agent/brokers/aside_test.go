package brokers

import (
	"reflect"
	"testing"
	"time"

	"github.com/leat-stream/leat/metadata/state"
)

// TestAnAgentThatStepsAsideIsRelievedUntilItIsBack: the view is that of agent 1.
func TestAnAgentThatStepsAsideIsRelievedUntilItIsBack(t *testing.T) {
	w := newWorld(t, opened(1, "z"), opened(2, "z"))
	start(t, w.brokers.Run)
	check := func(what string, v *View, relieved bool, live ...int32) {
		t.Helper()
		if got := nodesOf(v.All()); v.Relieved() != relieved || !reflect.DeepEqual(got, live) {
			t.Errorf("%s: relieved: %v, live: %v", what, v.Relieved(), got)
		}
		if got := nodesOf(v.Others()); !reflect.DeepEqual(got, []int32{2}) {
			t.Errorf("%s: others: %v", what, got)
		}
	}
	aside := func(id byte, back bool) state.StepAside { return state.StepAside{Session: state.UUID{id}, Back: back} }
	check("at first", w.brokers.View(), false, 1, 2)
	check("the other aside", w.after(aside(2, false)), false, 1)
	check("both aside", w.after(aside(1, false)), false, 1, 2)
	check("the other back", w.after(aside(2, true)), true, 2)
	w.now = time.Unix(5000, 0)
	v := w.after(aside(1, true))
	check("back", v, false, 1, 2)
	if own, _ := v.Self(); !v.Since(own).Equal(w.now) {
		t.Errorf("others may not know yet that it is back: since %v", v.Since(own))
	}
	check("aside again", w.after(aside(1, false)), true, 2)
	check("leaving", w.after(state.LeaveSession{Session: state.UUID{1}}), false, 2)
}
