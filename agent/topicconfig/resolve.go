package topicconfig

import (
	"slices"
	"strings"
)

// TimestampType is message.timestamp.type.
type TimestampType int8

// The timestamp types, with the numbers that a batch's attribute bit has.
const (
	CreateTime    TimestampType = 0
	LogAppendTime TimestampType = 1
)

// Topic is what the data path needs to know of a topic's configs. It is a value: nobody writes to it after Resolve.
type Topic struct {
	MaxMessageBytes      int32 // bytes of a whole batch
	TimestampType        TimestampType
	TimestampBeforeMaxMs int64
	TimestampAfterMaxMs  int64
	Compression          string // compression.type: "producer", "uncompressed" or a codec's name
	CompressionLevel     int    // of that codec; 0 is the codec's default
	Delete               bool   // cleanup.policy has delete
	Compact              bool   // cleanup.policy has compact
	RetentionMs          int64  // below 0: forever
	RetentionBytes       int64  // below 0: without limit
	SegmentBytes         int32
	Compaction           Compaction
}

// Compaction is what matters when Topic.Compact is set.
type Compaction struct {
	DeleteRetentionMs int64   // tombstones live at least this long
	MinLagMs          int64   // a record stays uncompacted at least this long
	MaxLagMs          int64   // and at most this long
	MinDirtyRatio     float64 // 0 to 1, or NaN
}

// Resolve fills overrides up with defaults. An override that is not valid, as a later version may have written it, counts
// as not being there.
func Resolve(overrides map[string]string) Topic {
	r := resolver(overrides)
	policy := r.list("cleanup.policy")
	t := Topic{
		MaxMessageBytes:      int32(r.number("max.message.bytes")),
		TimestampBeforeMaxMs: r.number("message.timestamp.before.max.ms"),
		TimestampAfterMaxMs:  r.number("message.timestamp.after.max.ms"),
		Compression:          r.value("compression.type").(string),
		Delete:               slices.Contains(policy, "delete"),
		Compact:              slices.Contains(policy, "compact"),
		RetentionMs:          r.number("retention.ms"),
		RetentionBytes:       r.number("retention.bytes"),
		SegmentBytes:         int32(r.number("segment.bytes")),
		Compaction: Compaction{
			DeleteRetentionMs: r.number("delete.retention.ms"),
			MinLagMs:          r.number("min.compaction.lag.ms"),
			MaxLagMs:          r.number("max.compaction.lag.ms"),
			MinDirtyRatio:     r.value("min.cleanable.dirty.ratio").(float64),
		},
	}
	if r.value("message.timestamp.type") == "LogAppendTime" {
		t.TimestampType = LogAppendTime
	}
	switch t.Compression {
	case "gzip", "lz4", "zstd":
		t.CompressionLevel = r.level("compression." + t.Compression + ".level")
	}
	return t
}

// resolver reads typed values from overrides.
type resolver map[string]string

func (r resolver) value(name string) any {
	d, ok := Lookup(name)
	if !ok {
		panic("no topic config is called " + name)
	}
	if s, ok := r[name]; ok {
		if canonical, err := Canonical(name, s); err == nil {
			v, err := parse(d, canonical)
			if err == nil {
				return v
			}
		}
	}
	v, err := parse(d, d.Default)
	if err != nil {
		panic("the default of " + name + " is not valid: " + err.Error())
	}
	return v
}

func (r resolver) number(name string) int64 { return r.value(name).(int64) }

func (r resolver) list(name string) []string { return r.value(name).([]string) }

// level is 0 for Kafka's default level, so that the codec may choose its own way to the same.
func (r resolver) level(name string) int {
	d, _ := Lookup(name)
	if n := r.number(name); text(n) != d.Default {
		return int(n)
	}
	return 0
}

// Effective returns the value of a config in force, in canonical form, and whether it is an override: what DescribeConfigs
// shows. ok is false for an unknown name.
func Effective(overrides map[string]string, name string) (value string, override, ok bool) {
	d, ok := Lookup(name)
	if !ok {
		return "", false, false
	}
	if s, set := overrides[name]; set {
		if canonical, err := Canonical(name, s); err == nil {
			return canonical, true, true
		}
	}
	return d.Default, false, true
}

// split takes a canonical list apart.
func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}
