// Package lag tells Prometheus how far the consumer groups are behind: the records between what a group committed and the end of each
// partition. It is computed from the local state when it is scraped, and must never write, wait for other agents, or hold the state
// for longer than one group takes.
//
// Only the agent that coordinates a group tells of it, so that sums over agents count each group once. While groups move from one agent
// to another, both may for a moment, or none.
package lag

import (
	"context"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Bounds of what one agent tells. What is left out is counted, in metrics of its own.
const (
	// MaxGroups is for how many groups it tells the sum. Further ones, in the order of their ids, are left out.
	MaxGroups = 2000
	// MaxPartitions is how many partitions of groups it tells apart. A group whose partitions do not all fit is told as a sum only.
	MaxPartitions = 20_000
	// maxLabel is the longest group id that becomes a label, bytes: the longest name that a topic can have.
	maxLabel = 249
	// patience bounds one scrape.
	patience = 5 * time.Second
)

var (
	partitionLag = prometheus.NewDesc("leat_group_partition_lag_records",
		"Records of a partition that a consumer group has not committed yet; told by the agent that coordinates the group, of at most 20,000 partitions.",
		[]string{"group", "topic", "partition"}, nil)
	groupLag = prometheus.NewDesc("leat_group_lag_records",
		"Records that a consumer group has not committed yet, of all partitions that it ever committed; told by the agent that coordinates it, of at most 2,000 groups.",
		[]string{"group"}, nil)
	omittedPartitions = prometheus.NewDesc("leat_group_lag_omitted_partitions",
		"Partitions of groups left out of leat_group_partition_lag_records, because there are too many.", nil, nil)
	omittedGroups = prometheus.NewDesc("leat_group_lag_omitted_groups",
		"Groups left out of leat_group_lag_records, because there are too many, or because their id is not UTF-8 or longer than 249 bytes.", nil, nil)
)

// Collector is a prometheus.Collector. Its fields are set once; it may be scraped by several at once.
type Collector struct {
	// Ask looks at the local state; see metadata.Service.
	Ask func(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error
	// Mine tells whether this agent coordinates a group.
	Mine func(group string) bool
}

// Describe implements prometheus.Collector.
func (c Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{partitionLag, groupLag, omittedPartitions, omittedGroups} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. When the state cannot be read any more it tells nothing.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var groups []string
	if c.Ask(ctx, metadata.Local(), func(r state.Reader) {
		for id := range r.Groups() {
			groups = append(groups, id)
		}
	}) != nil {
		return
	}
	told, partitions, leftGroups, leftPartitions := 0, 0, 0, 0
	var lags []one
	for _, id := range groups {
		if !c.Mine(id) {
			continue
		}
		if told >= MaxGroups || len(id) > maxLabel || !utf8.ValidString(id) {
			leftGroups++
			continue
		}
		if c.Ask(ctx, metadata.Local(), func(r state.Reader) { lags = of(r, id, lags[:0]) }) != nil {
			return
		}
		if len(lags) == 0 {
			continue
		}
		told++
		apart := partitions+len(lags) <= MaxPartitions
		var sum int64
		for _, l := range lags {
			if sum += l.records; apart {
				ch <- prometheus.MustNewConstMetric(partitionLag, prometheus.GaugeValue, float64(l.records), id, l.topic, strconv.Itoa(int(l.partition)))
			}
		}
		if apart {
			partitions += len(lags)
		} else {
			leftPartitions += len(lags)
		}
		ch <- prometheus.MustNewConstMetric(groupLag, prometheus.GaugeValue, float64(sum), id)
	}
	ch <- prometheus.MustNewConstMetric(omittedGroups, prometheus.GaugeValue, float64(leftGroups))
	ch <- prometheus.MustNewConstMetric(omittedPartitions, prometheus.GaugeValue, float64(leftPartitions))
}

// one is the lag of a group in one partition.
type one struct {
	topic     string
	partition int32
	records   int64
}

// of appends the lags of a group in the partitions that it committed and that exist.
func of(r state.Reader, group string, to []one) []one {
	var id state.UUID
	name := ""
	for _, o := range r.Offsets(group) { // ordered by topic
		if name == "" || o.Topic != id {
			t, ok := r.Topic(o.Topic)
			if !ok {
				continue
			}
			id, name = o.Topic, t.Name
		}
		if v, ok := r.View(state.TopicPartition{Topic: o.Topic, Partition: o.Partition}, 0, 0); ok {
			to = append(to, one{topic: name, partition: o.Partition, records: max(0, v.Watermark-o.Offset)})
		}
	}
	return to
}
