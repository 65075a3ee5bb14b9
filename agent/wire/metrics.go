package wire

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/leat-stream/leat/agent/wire/codes"
	"github.com/leat-stream/leat/agent/wire/shape"
)

// metrics are what this package counts. Labels come from closed sets: API names and versions that are served, Kafka's error
// names, the reasons below.
type metrics struct {
	open       prometheus.Gauge
	accepted   *prometheus.CounterVec // listener
	closed     *prometheus.CounterVec // reason
	requests   *prometheus.CounterVec // api, version, error
	errors     *prometheus.CounterVec // api, error
	seconds    *prometheus.HistogramVec
	received   prometheus.Counter
	sent       prometheus.Counter
	waits      prometheus.Counter
	panics     prometheus.Counter
	acceptFail prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, b, reserve *budget) (*metrics, error) {
	m := &metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leat_wire_connections_open", Help: "Client connections that are open."}),
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_wire_connections_accepted_total", Help: "Client connections accepted."}, []string{"listener"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_wire_connections_closed_total", Help: "Client connections closed, by reason."}, []string{"reason"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_wire_requests_total", Help: "Requests, by API, version and top-level error."},
			[]string{"api", "version", "error"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leat_wire_errors_total", Help: "Errors in answers, of the whole or of a topic, partition or group in it, by API and Kafka's name."},
			[]string{"api", "error"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "leat_wire_request_seconds", Help: "Time from a request's begin until its answer was there.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}, []string{"api"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_wire_received_bytes_total", Help: "Bytes of complete requests."}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_wire_sent_bytes_total", Help: "Bytes of answers."}),
		waits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_wire_memory_waits_total", Help: "Times a connection was left unread for want of request memory."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_wire_panics_total", Help: "Panics in handlers; each closed its connection."}),
		acceptFail: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_wire_accept_errors_total", Help: "Failures to accept a connection, such as too many open files."}),
	}
	for _, why := range reasons {
		m.closed.WithLabelValues(string(why))
	}
	used := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "leat_wire_memory_bytes", Help: "Memory budget held by requests in flight."}, func() float64 { return float64(b.inUse() + reserve.inUse()) })
	limit := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "leat_wire_memory_limit_bytes", Help: "Memory budget for requests in flight."}, func() float64 { return float64(b.limit + reserve.limit) })
	for _, c := range []prometheus.Collector{
		m.open, m.accepted, m.closed, m.requests, m.errors, m.seconds, m.received, m.sent, m.waits, m.panics, m.acceptFail, used, limit,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// reason is why a connection was closed: the label of leat_wire_connections_closed_total.
type reason string

const (
	reasonClient      reason = "client_closed"
	reasonNetwork     reason = "network_error"
	reasonIdle        reason = "idle"
	reasonSlow        reason = "frame_timeout"
	reasonTooLong     reason = "frame_too_long"
	reasonMalformed   reason = "malformed"
	reasonUnsupported reason = "unsupported"
	reasonMemory      reason = "memory"
	reasonPanic       reason = "panic"
	reasonHandler     reason = "handler"
	reasonWrite       reason = "write_failed"
	reasonDrain       reason = "drain"
	reasonLimit       reason = "max_connections"
	reasonLimitIP     reason = "max_connections_per_ip"
	reasonAge         reason = "max_age"
	reasonShed        reason = "shed"
	reasonProxy       reason = "proxy_header"
)

// reasons are all there are.
var reasons = []reason{
	reasonClient, reasonNetwork, reasonIdle, reasonSlow, reasonTooLong, reasonMalformed,
	reasonUnsupported, reasonMemory, reasonPanic, reasonHandler, reasonWrite, reasonSlowReader, reasonDrain,
	reasonLimit, reasonLimitIP, reasonAge, reasonShed, reasonProxy,
}

// count records one answered request.
func (m *metrics) count(h Header, seconds float64, resp Response) {
	name, whole := shape.Name(h.Key), "NONE"
	codes.In(resp.Message, func(code int16, top bool) {
		e := errorName(code)
		m.errors.WithLabelValues(name, e).Inc()
		if top {
			whole = e
		}
	})
	if resp.Close {
		whole = "CLOSED"
		m.errors.WithLabelValues(name, whole).Inc()
	}
	m.requests.WithLabelValues(name, strconv.Itoa(int(h.Version)), whole).Inc()
	m.seconds.WithLabelValues(name).Observe(seconds)
}

// errorName is Kafka's name of an error code.
func errorName(code int16) string {
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return "UNKNOWN_SERVER_ERROR"
}
