package agentproc

import (
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMetricsAreSummedByNameAndLabel(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# HELP r_total Requests, 7\n# TYPE r_total counter\n" +
			"r_total{operation=\"get\",outcome=\"ok\"} 5\nr_total{operation=\"put\",outcome=\"a b\"} 1e+06\nr_total_more 9\ncpu 1.5\n"))
	}))
	defer server.Close()
	a := &Agent{HTTP: strings.TrimPrefix(server.URL, "http://")}
	m, err := a.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	diff := m.Sub(Metrics{"cpu": 1})
	if m.Sum("r_total") != 1000005 || m.Sum("r_total", `operation="get"`) != 5 || m.Sum("nothing") != 0 || diff.Sum("cpu") != 0.5 {
		t.Errorf("%v", m)
	}
}

func TestProcessorTimeAndMemoryAreTheKernels(t *testing.T) {
	if runtime.GOOS != "linux" {
		if _, err := CPU(os.Getpid()); err == nil {
			t.Error("processor time without /proc")
		}
		return
	}
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; { // burns until the kernel's clock has moved
		now, err := CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			if took := time.Since(began); now-before > time.Duration(runtime.NumCPU()+1)*took+5*clockTick {
				t.Errorf("%s of processor time in %s", now-before, took)
			}
			break
		}
	}
	if peak, err := PeakMemory(os.Getpid()); err != nil || peak < 1<<20 {
		t.Errorf("peak memory %d, %v", peak, err)
	}
}
