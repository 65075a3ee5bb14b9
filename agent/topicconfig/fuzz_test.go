package topicconfig_test

import (
	"testing"

	"github.com/leat-stream/leat/agent/topicconfig"
)

// FuzzCanonical: whatever a client sends as a value, it is refused with a message, or kept in a form that is its own
// canonical form and that Resolve can read.
func FuzzCanonical(f *testing.F) {
	for i, d := range topicconfig.All() {
		f.Add(i, d.Default)
	}
	for _, s := range []string{" +7 ", "0x1p-2", "1e-400", "NaN", "-Infinity", "0.5d", "delete,,compact", ",", " * ", "\x00true\x1f", "é"} {
		f.Add(len(s), s)
	}
	all := topicconfig.All()
	f.Fuzz(func(t *testing.T, which int, value string) {
		d := all[int(uint(which)%uint(len(all)))]
		canonical, err := topicconfig.Canonical(d.Name, value)
		if err != nil {
			if err.Error() == "" {
				t.Fatalf("%s=%q is refused without a message", d.Name, value)
			}
			return
		}
		again, err := topicconfig.Canonical(d.Name, canonical)
		if err != nil || again != canonical {
			t.Fatalf("%s=%q becomes %q and then %q, %v", d.Name, value, canonical, again, err)
		}
		topicconfig.Resolve(overrides{d.Name: value})
	})
}
