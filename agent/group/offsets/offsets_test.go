package offsets

import (
	"strings"
	"testing"
)

func TestMetadataIsMeasuredInUTF16Units(t *testing.T) {
	for s, want := range map[string]bool{
		strings.Repeat("x", 4096): false, strings.Repeat("x", 4097): true, strings.Repeat("ä", 4096): false,
		strings.Repeat("ä", 4097): true, strings.Repeat("😀", 2048): false, strings.Repeat("😀", 2049): true,
	} {
		if longer(s, 4096) != want {
			t.Errorf("%d bytes: longer is %v", len(s), !want)
		}
	}
}
