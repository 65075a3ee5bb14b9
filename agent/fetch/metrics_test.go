package fetch

import (
	"errors"
	"fmt"
	"testing"

	"github.com/leat-stream/leat/objectstore"
)

func TestFailuresHaveACause(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("object x: %w", objectstore.ErrNotFound), "missing"},
		{fmt.Errorf("object x: %w: checksum", ErrStorage), "corrupt"},
		{fmt.Errorf("object x: %w", objectstore.ErrThrottled), "unreachable"},
		{errors.New("connection reset"), "unreachable"},
	} {
		if got := causeNames[causeOf(c.err)]; got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
