package topicconfig_test

import (
	"errors"
	"maps"
	"math"
	"testing"

	"github.com/leat-stream/leat/agent/topicconfig"
)

func ptr(s string) *string { return &s }

func set(name, value string) topicconfig.Change {
	return topicconfig.Change{Name: name, Op: topicconfig.Set, Value: &value}
}

func add(name, value string) topicconfig.Change {
	return topicconfig.Change{Name: name, Op: topicconfig.Append, Value: &value}
}

func remove(name, value string) topicconfig.Change {
	return topicconfig.Change{Name: name, Op: topicconfig.Subtract, Value: &value}
}

func unset(name string) topicconfig.Change {
	return topicconfig.Change{Name: name, Op: topicconfig.Delete}
}

type overrides = map[string]string

const policy, replicas = "cleanup.policy", "leader.replication.throttled.replicas"

// The outcomes were observed on Apache Kafka 4.3.1, but for those that doc.go names as wanted differences.
func TestAlter(t *testing.T) {
	for _, c := range []struct {
		name    string
		before  overrides
		changes []topicconfig.Change
		want    overrides
	}{
		{"set", nil, []topicconfig.Change{set("retention.ms", "2000")}, overrides{"retention.ms": "2000"}},
		{"set keeps the canonical form", nil, []topicconfig.Change{set("retention.ms", " +07 ")}, overrides{"retention.ms": "7"}},
		{"set over another", overrides{"retention.ms": "1", policy: "compact"}, []topicconfig.Change{set("retention.ms", "2")},
			overrides{"retention.ms": "2", policy: "compact"}},
		{"delete", overrides{"retention.ms": "1"}, []topicconfig.Change{unset("retention.ms")}, overrides{}},
		{"delete what is not set", nil, []topicconfig.Change{unset("retention.ms")}, overrides{}},
		{"delete an unknown name", nil, []topicconfig.Change{unset("no.such")}, overrides{}},
		{"delete ignores a value", overrides{policy: "compact"},
			[]topicconfig.Change{{Name: policy, Op: topicconfig.Delete, Value: ptr("x")}}, overrides{}},
		{"append to the default", nil, []topicconfig.Change{add(policy, "compact")}, overrides{policy: "delete,compact"}},
		{"append what is there", overrides{policy: "delete,compact"}, []topicconfig.Change{add(policy, "compact,delete")},
			overrides{policy: "delete,compact"}},
		{"append one twice", overrides{policy: ""}, []topicconfig.Change{add(policy, "delete,delete")}, overrides{policy: "delete"}},
		{"append to the empty list", overrides{policy: ""}, []topicconfig.Change{add(policy, "compact")}, overrides{policy: "compact"}},
		{"append nothing to the empty list", overrides{policy: ""}, []topicconfig.Change{add(policy, "")}, overrides{policy: ""}},
		{"append with spaces", nil, []topicconfig.Change{add(policy, " compact , delete ")}, overrides{policy: "delete,compact"}},
		{"append to an unset list without default", nil, []topicconfig.Change{add(replicas, "0:1,1:1")}, overrides{replicas: "0:1,1:1"}},
		{"subtract", overrides{policy: "delete,compact"}, []topicconfig.Change{remove(policy, "delete")}, overrides{policy: "compact"}},
		{"subtract with spaces", overrides{policy: "delete,compact"}, []topicconfig.Change{remove(policy, "delete, compact")},
			overrides{policy: ""}},
		{"subtract what is not there", overrides{policy: "compact"}, []topicconfig.Change{remove(policy, "delete")},
			overrides{policy: "compact"}},
		{"subtract the default", nil, []topicconfig.Change{remove(policy, "delete")}, overrides{policy: ""}},
		{"nothing", overrides{policy: "compact"}, nil, overrides{policy: "compact"}},
		{"several", overrides{"retention.ms": "1"},
			[]topicconfig.Change{unset("retention.ms"), set("segment.bytes", "1048576"), add(policy, "compact")},
			overrides{"segment.bytes": "1048576", policy: "delete,compact"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := maps.Clone(c.before)
			got, err := topicconfig.Alter(c.before, c.changes)
			if err != nil || !maps.Equal(got, c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
			if !maps.Equal(before, c.before) {
				t.Errorf("the overrides before became %v", c.before)
			}
		})
	}
}

func TestAlterRefuses(t *testing.T) {
	const config, request = topicconfig.InvalidConfig, topicconfig.InvalidRequest
	null := func(name string, op topicconfig.Op) topicconfig.Change { return topicconfig.Change{Name: name, Op: op} }
	for _, c := range []struct {
		name    string
		changes []topicconfig.Change
		kind    topicconfig.Kind
		want    string
	}{
		{"set unknown", []topicconfig.Change{set("no.such", "1")}, config, "Unknown topic config name: no.such"},
		{"set without a name", []topicconfig.Change{set("", "1")}, config, "Unknown topic config name: "},
		{"set a bad value", []topicconfig.Change{set("retention.ms", "soon")}, config,
			"Invalid value soon for configuration retention.ms: Not a number of type LONG"},
		{"set null", []topicconfig.Change{null("retention.ms", topicconfig.Set)}, request, "Null value not supported for : retention.ms"},
		{"append null", []topicconfig.Change{null(policy, topicconfig.Append)}, request, "Null value not supported for : cleanup.policy"},
		{"append null to an unknown name", []topicconfig.Change{null("no.such", topicconfig.Append)}, request,
			"Null value not supported for : no.such"},
		{"append to a number", []topicconfig.Change{add("retention.ms", "1")}, config,
			"Can't APPEND to key retention.ms because its type is not LIST."},
		{"append to an unknown name", []topicconfig.Change{add("no.such", "1")}, config,
			"Can't APPEND to key no.such because its type is not LIST."},
		{"subtract from a string", []topicconfig.Change{remove("compression.type", "gzip")}, config,
			"Can't SUBTRACT to key compression.type because its type is not LIST."},
		{"append an unknown policy", []topicconfig.Change{add(policy, "shrink")}, config,
			"Invalid value shrink for configuration cleanup.policy: String must be one of: compact, delete"},
		{"append nothing to a list", []topicconfig.Change{add(policy, "")}, config,
			"Configuration 'cleanup.policy' values must not be empty."},
		{"the same key twice", []topicconfig.Change{set("retention.ms", "5"), set("retention.ms", "6")}, request,
			"Error due to duplicate config keys"},
		{"one good, one bad", []topicconfig.Change{set("retention.ms", "7"), set("segment.bytes", "x")}, config,
			"Invalid value x for configuration segment.bytes: Not a number of type INT"},
		{"bad value and unknown name", []topicconfig.Change{set("retention.ms", "y"), set("zzz", "x")}, config,
			"Unknown topic config name: zzz"},
		{"bad value and append to a number", []topicconfig.Change{set("retention.ms", "y"), add("segment.bytes", "1")}, config,
			"Can't APPEND to key segment.bytes because its type is not LIST."},
		{"compaction lags that cross", []topicconfig.Change{set("min.compaction.lag.ms", "9"), set("max.compaction.lag.ms", "8")}, config,
			"conflict topic config setting min.compaction.lag.ms (9) > max.compaction.lag.ms (8)"},
		{"remote storage", []topicconfig.Change{set("remote.storage.enable", "true")}, config,
			"Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."},
		{"an operation that does not exist", []topicconfig.Change{{Name: policy, Op: 9, Value: ptr("x")}}, request,
			"Unknown operation 9 on cleanup.policy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := topicconfig.Alter(nil, c.changes)
			e, ok := errors.AsType[*topicconfig.Error](err)
			if !ok || e.Kind != c.kind || e.Message != c.want || got != nil {
				t.Errorf("got %v, %#v\nwant kind %d: %s", got, err, c.kind, c.want)
			}
		})
	}
}

func TestAlterChecksAgainstWhatWasSetBefore(t *testing.T) {
	before := overrides{"max.compaction.lag.ms": "5"}
	if _, err := topicconfig.Alter(before, []topicconfig.Change{set("min.compaction.lag.ms", "6")}); err == nil {
		t.Error("a lag above the one set before is accepted")
	}
	if _, err := topicconfig.Alter(before, []topicconfig.Change{set("min.compaction.lag.ms", "5")}); err != nil {
		t.Errorf("equal lags are refused: %v", err)
	}
}

func TestResolveDefaults(t *testing.T) {
	want := topicconfig.Topic{
		MaxMessageBytes: 1048588, TimestampType: topicconfig.CreateTime, TimestampBeforeMaxMs: math.MaxInt64,
		TimestampAfterMaxMs: 3_600_000, Compression: "producer", Delete: true, RetentionMs: 604_800_000, RetentionBytes: -1,
		SegmentBytes: 1 << 30,
		Compaction:   topicconfig.Compaction{DeleteRetentionMs: 86_400_000, MaxLagMs: math.MaxInt64, MinDirtyRatio: 0.5},
	}
	if got := topicconfig.Resolve(nil); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestResolveOverrides(t *testing.T) {
	got := topicconfig.Resolve(overrides{
		"max.message.bytes": "7", "message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": "1",
		"message.timestamp.after.max.ms": "2", "compression.type": "zstd", "compression.zstd.level": "9", policy: "compact",
		"retention.ms": "-1", "retention.bytes": "3", "segment.bytes": "1048576", "delete.retention.ms": "4",
		"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "6", "min.cleanable.dirty.ratio": "0.25",
	})
	want := topicconfig.Topic{
		MaxMessageBytes: 7, TimestampType: topicconfig.LogAppendTime, TimestampBeforeMaxMs: 1, TimestampAfterMaxMs: 2,
		Compression: "zstd", CompressionLevel: 9, Compact: true, RetentionMs: -1, RetentionBytes: 3, SegmentBytes: 1 << 20,
		Compaction: topicconfig.Compaction{DeleteRetentionMs: 4, MinLagMs: 5, MaxLagMs: 6, MinDirtyRatio: 0.25},
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLevelIsThatOfTheCodecInForce(t *testing.T) {
	for _, c := range []struct {
		compression, level string
		want               int
	}{{"gzip", "5", 5}, {"gzip", "-1", 0}, {"lz4", "9", 0}, {"lz4", "17", 17}, {"zstd", "3", 0}, {"zstd", "-7", -7}} {
		got := topicconfig.Resolve(overrides{"compression.type": c.compression, "compression." + c.compression + ".level": c.level})
		if got.CompressionLevel != c.want {
			t.Errorf("%s at %s: level %d, want %d", c.compression, c.level, got.CompressionLevel, c.want)
		}
	}
	if got := topicconfig.Resolve(overrides{"compression.type": "snappy", "compression.gzip.level": "5"}); got.CompressionLevel != 0 {
		t.Errorf("snappy took gzip's level %d", got.CompressionLevel)
	}
}

func TestAnOverrideThatIsNotValidDoesNotCount(t *testing.T) {
	bad := overrides{"max.message.bytes": "many", policy: "shrink", "no.such": "1"}
	if got := topicconfig.Resolve(bad); got != topicconfig.Resolve(nil) {
		t.Errorf("got %+v", got)
	}
	value, override, ok := topicconfig.Effective(bad, policy)
	if value != "delete" || override || !ok {
		t.Errorf("described as %q, %v, %v", value, override, ok)
	}
}

func TestEffective(t *testing.T) {
	o := overrides{"retention.ms": " 5 "}
	if value, override, ok := topicconfig.Effective(o, "retention.ms"); value != "5" || !override || !ok {
		t.Errorf("override: %q, %v, %v", value, override, ok)
	}
	if value, override, ok := topicconfig.Effective(o, "segment.ms"); value != "604800000" || override || !ok {
		t.Errorf("default: %q, %v, %v", value, override, ok)
	}
	if _, _, ok := topicconfig.Effective(o, "no.such"); ok {
		t.Error("an unknown name has a value")
	}
}
