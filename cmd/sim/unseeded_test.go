//go:build !simseed

package sim

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// seedRuntime does nothing: without the overlay the runtime draws for itself.
func seedRuntime(uint64) {}

// TestTheSameSeedTwiceIsTheSameRun builds this package as make sim does, with the overlay, without which that is not so, and has two
// processes run the same seeds.
func TestTheSameSeedTwiceIsTheSameRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the standard library the first time, which takes minutes")
	}
	overlay, err := filepath.Abs("../../.tools/sim")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "sim.test")
	command(t, "./overlay", overlay)
	command(t, "go", "test", "-c", "-tags", "simseed", "-overlay", filepath.Join(overlay, "overlay.json"), "-o", binary, ".")
	const seeds = 20 // among them 111, which differed once in 50 times
	once, again := hashes(t, binary), hashes(t, binary)
	if len(once) != seeds || len(again) != seeds {
		t.Fatalf("%d and %d seeds were run, not %d", len(once), len(again), seeds)
	}
	var parted []string
	for i := range once {
		if once[i] != again[i] {
			parted = append(parted, fmt.Sprintf("once  %s\nagain %s", once[i], again[i]))
		}
	}
	if len(parted) > mayPart {
		t.Errorf("%d of %d seeds parted:\n%s", len(parted), seeds, strings.Join(parted, "\n"))
	}
}

// mayPart is how many of the seeds may have two runs that part: 4 of 640 runs did, for a reason that is not known; without the overlay
// nearly all do.
const mayPart = 2

// hashes has a process run seeds from 101 on, and answers what it says of each of their traces.
func hashes(t *testing.T, binary string) (lines []string) {
	t.Helper()
	out := command(t, binary, "-test.run", "TestAgentsKeepTheirPromises", "-sim.seed", "101", "-sim.count", "20", "-sim.hashes")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "seed ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = append(os.Environ(), "GOMAXPROCS=2")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr.Bytes())
	}
	return string(out)
}
