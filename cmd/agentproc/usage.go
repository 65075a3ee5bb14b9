package agentproc

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/leat-stream/leat/localstack/proc"
)

// Metrics are the samples of a scrape, by name with labels, as leat_objectstore_requests_total{operation="put",outcome="ok"}.
type Metrics map[string]float64

// Metrics scrapes the agent.
func (a *Agent) Metrics(ctx context.Context) (Metrics, error) {
	text, err := proc.Get(ctx, "http://"+a.HTTP+"/metrics")
	if err != nil {
		return nil, fmt.Errorf("scrape agent: %w", err)
	}
	m := Metrics{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			return nil, fmt.Errorf("scrape agent: %q: %w", line, err)
		}
		m[line[:at]] = value
	}
	return m, nil
}

// Sum adds up the samples of a metric, whatever their labels, as far as they contain each of the parts.
func (m Metrics) Sum(name string, parts ...string) float64 {
	var sum float64
samples:
	for sample, value := range m {
		if family, _, _ := strings.Cut(sample, "{"); family != name {
			continue
		}
		for _, part := range parts {
			if !strings.Contains(sample, part) {
				continue samples
			}
		}
		sum += value
	}
	return sum
}

// Sub answers what was counted between an earlier scrape and m.
func (m Metrics) Sub(earlier Metrics) Metrics {
	diff := Metrics{}
	for sample, value := range m {
		diff[sample] = value - earlier[sample]
	}
	return diff
}

// clockTick is the unit of /proc/PID/stat, 1/100 s on every Linux that Go runs on (USER_HZ).
const clockTick = 10 * time.Millisecond

// CPU answers the processor time, user and system, that a process has used so far. It works on Linux only.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	// The second field is the program's name in parentheses and may hold blanks; utime and stime are fields 14 and 15.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("processor time of %d: %q is not what Linux writes", pid, text)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time of %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// PeakMemory answers the most bytes that a process had in memory at once. It works on Linux only.
func PeakMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("peak memory: %w", err)
	}
	_, rest, found := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, fmt.Errorf("peak memory of %d: no VmHWM", pid)
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("peak memory of %d: %w", pid, err)
	}
	return kib << 10, nil
}
