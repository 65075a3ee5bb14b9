package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// alteration is one operation on one config: 0 set, 1 delete, 2 append, 3 subtract. A nil value is null.
type alteration struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

func set(name, value string) alteration { return alteration{name, 0, &value} }

func alter(resource kmsg.ConfigResourceType, name string, ops ...alteration) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = resource, name
	for _, op := range ops {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op, c.Value = op.name, op.op, op.value
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	return req
}

func describeConfigs(version int16, resource kmsg.ConfigResourceType, name string, keys ...string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms = version, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = resource, name, keys
	req.Resources = append(req.Resources, r)
	return req
}

const (
	topicResource  = kmsg.ConfigResourceTypeTopic
	brokerResource = kmsg.ConfigResourceTypeBroker
)

func probeConfigs(p *probe) error {
	if err := p.topic("conf", 1, "retention.ms", "1000"); err != nil {
		return err
	}
	for v := int16(1); v <= 4; v++ {
		p.ask("two keys", describeConfigs(v, topicResource, "conf", "retention.ms", "cleanup.policy"))
	}
	p.ask("unknown key", describeConfigs(4, topicResource, "conf", "no.such"))
	none := describeConfigs(4, topicResource, "conf")
	none.Resources[0].ConfigNames = []string{}
	p.ask("empty list of keys", none)
	p.ask("unknown topic", describeConfigs(4, topicResource, "nowhere", "retention.ms"))
	p.ask("bad topic name", describeConfigs(4, topicResource, "a/b", "retention.ms"))
	p.ask("empty topic name", describeConfigs(4, topicResource, "", "retention.ms"))
	p.ask("broker 1", describeConfigs(4, brokerResource, "1", "log.retention.ms", "log.retention.hours", "node.id"))
	p.ask("broker 9", describeConfigs(4, brokerResource, "9", "node.id"))
	p.ask("broker x", describeConfigs(4, brokerResource, "x", "node.id"))
	p.ask("broker default", describeConfigs(4, brokerResource, "", "min.insync.replicas"))
	for _, kind := range []kmsg.ConfigResourceType{0, 3, 8, 16, 32, 77} {
		p.ask(fmt.Sprintf("resource type %d", kind), describeConfigs(4, kind, "1"))
	}
	twice := describeConfigs(4, topicResource, "conf", "retention.ms")
	twice.Resources = append(twice.Resources, twice.Resources[0])
	p.ask("the same resource twice", twice)
	alterations(p)
	configRanges(p)
	canonical(p)
	return nil
}

func tryAlter(p *probe, label string, ops ...alteration) {
	p.ask(label, alter(topicResource, "conf", ops...))
}

func showConfigs(p *probe) {
	keys := []string{"cleanup.policy", "retention.ms", "leader.replication.throttled.replicas"}
	p.ask("  now", describeConfigs(4, topicResource, "conf", keys...))
}

func alterations(p *probe) {
	try := func(label string, ops ...alteration) { tryAlter(p, label, ops...) }
	show := func() { showConfigs(p) }
	v := func(s string) *string { return &s }
	try("set", set("retention.ms", "2000"))
	try("set unknown", set("no.such", "1"))
	try("delete unknown", alteration{"no.such", 1, nil})
	try("set bad value", set("retention.ms", "soon"))
	try("set null", alteration{"retention.ms", 0, nil})
	try("set empty number", set("retention.ms", ""))
	try("append to a number", alteration{"retention.ms", 2, v("1")})
	try("subtract from a number", alteration{"retention.ms", 3, v("1")})
	try("append to compression.type", alteration{"compression.type", 2, v("gzip")})
	try("append compact to the default", alteration{"cleanup.policy", 2, v("compact")})
	show()
	try("append compact again", alteration{"cleanup.policy", 2, v("compact")})
	show()
	try("append two, one there", alteration{"cleanup.policy", 2, v("compact,delete")})
	try("append empty", alteration{"cleanup.policy", 2, v("")})
	show()
	try("append null", alteration{"cleanup.policy", 2, nil})
	try("append unknown policy", alteration{"cleanup.policy", 2, v("shrink")})
	try("subtract delete", alteration{"cleanup.policy", 3, v("delete")})
	show()
	try("subtract what is not there", alteration{"cleanup.policy", 3, v("delete")})
	show()
	try("subtract the last", alteration{"cleanup.policy", 3, v("compact")})
	show()
	try("append to the empty list", alteration{"cleanup.policy", 2, v("compact")})
	show()
	try("delete", alteration{"cleanup.policy", 1, nil})
	show()
	try("delete with a value", alteration{"cleanup.policy", 1, v("x")})
	try("delete again", alteration{"cleanup.policy", 1, nil})
	try("subtract from the default", alteration{"cleanup.policy", 3, v("delete")})
	show()
	alterationsOfLists(p)
	alterationsOfOthers(p)
}

func alterationsOfLists(p *probe) {
	try := func(label string, ops ...alteration) { tryAlter(p, label, ops...) }
	show := func() { showConfigs(p) }
	v := func(s string) *string { return &s }
	try("set empty list", set("cleanup.policy", ""))
	show()
	try("set with spaces", set("cleanup.policy", " delete , compact "))
	show()
	try("subtract one of those with spaces", alteration{"cleanup.policy", 3, v("compact")})
	show()
	try("append one with a space", alteration{"cleanup.policy", 2, v(" compact")})
	show()
	try("append two with a space between", alteration{"cleanup.policy", 2, v("compact, delete")})
	show()
	try("subtract with a space", alteration{"cleanup.policy", 3, v("delete, compact")})
	show()
	try("append to an unknown name", alteration{"no.such", 2, v("a")})
	try("append null to an unknown name", alteration{"no.such", 2, nil})
	try("set null to an unknown name", alteration{"no.such", 0, nil})
	try("subtract null", alteration{"cleanup.policy", 3, nil})
	try("set empty", set("cleanup.policy", ""))
	try("append empty to the empty list", alteration{"cleanup.policy", 2, v("")})
	show()
	try("subtract empty from the empty list", alteration{"cleanup.policy", 3, v("")})
	show()
	try("append one twice", alteration{"cleanup.policy", 2, v("delete,delete")})
	show()
	try("min above max compaction lag", set("min.compaction.lag.ms", "9"), set("max.compaction.lag.ms", "8"))
	try("remote storage", set("remote.storage.enable", "true"))
	try("two errors, first bad", set("segment.bytes", "x"), set("retention.ms", "y"))
	try("two errors, in the other order", set("retention.ms", "y"), set("segment.bytes", "x"))
	try("unknown and bad value", set("retention.ms", "y"), set("no.such", "x"))
	try("bad value and append to a number", set("retention.ms", "y"), alteration{"segment.bytes", 2, v("1")})
	try("set duplicates", set("cleanup.policy", "delete,delete"))
	try("set delete,compact,delete", set("cleanup.policy", "delete,compact,delete"))
	try("append throttled replica", alteration{"leader.replication.throttled.replicas", 2, v("0:1")})
	try("append another", alteration{"leader.replication.throttled.replicas", 2, v("1:1,0:1")})
	show()
	try("append star", alteration{"leader.replication.throttled.replicas", 2, v("*")})
	try("subtract one", alteration{"leader.replication.throttled.replicas", 3, v("0:1")})
	show()
	try("the same key twice", set("retention.ms", "5"), set("retention.ms", "6"))
	try("one good, one bad", set("retention.ms", "7"), set("segment.bytes", "x"))
	show()
	try("operation 9", alteration{"retention.ms", 9, v("1")})
	try("no operations")
	try("empty name", set("", "1"))
	dry := alter(topicResource, "conf", set("retention.ms", "8"))
	dry.ValidateOnly = true
	p.ask("validate only", dry)
	show()
}

func alterationsOfOthers(p *probe) {
	p.ask("unknown topic", alter(topicResource, "nowhere", set("retention.ms", "1")))
	p.ask("bad topic name", alter(topicResource, "a/b", set("retention.ms", "1")))
	p.ask("empty topic name", alter(topicResource, "", set("retention.ms", "1")))
	p.ask("unknown broker", alter(brokerResource, "9", set("log.retention.ms", "1")))
	p.ask("broker x", alter(brokerResource, "x", set("log.retention.ms", "1")))
	p.ask("broker, read-only config", alter(brokerResource, "1", set("node.id", "1")))
	p.ask("resource type 77", alter(77, "1", set("a", "1")))
	twice := alter(topicResource, "conf", set("retention.ms", "1"))
	twice.Resources = append(twice.Resources, twice.Resources[0])
	p.ask("the same resource twice", twice)
	old := alter(topicResource, "conf", set("retention.ms", "9"))
	old.Version = 0
	p.ask("good", old)
}

// canonical shows in which form a value that was set is described.
func canonical(p *probe) {
	const replicas = "leader.replication.throttled.replicas"
	for _, c := range [][2]string{
		{"retention.ms", "+5"}, {"retention.ms", " 7 "}, {"retention.ms", "007"}, {"retention.ms", "-0"}, {"retention.ms", " x "},
		{"retention.ms", " -9 "}, {"preallocate", "TRUE"}, {"preallocate", " False "}, {"preallocate", " no "},
		{"min.cleanable.dirty.ratio", "1e-1"}, {"min.cleanable.dirty.ratio", ".5"}, {"min.cleanable.dirty.ratio", "0.5d"},
		{"min.cleanable.dirty.ratio", "NaN"}, {"min.cleanable.dirty.ratio", "1"}, {"min.cleanable.dirty.ratio", "0"},
		{"min.cleanable.dirty.ratio", "-0.0"}, {"min.cleanable.dirty.ratio", "0.00001"}, {"min.cleanable.dirty.ratio", "1e9"},
		{"min.cleanable.dirty.ratio", "Infinity"}, {"min.cleanable.dirty.ratio", "inf"}, {"min.cleanable.dirty.ratio", "nan"},
		{"min.cleanable.dirty.ratio", "0x1p-2"}, {"min.cleanable.dirty.ratio", "1e-400"}, {"min.cleanable.dirty.ratio", "12345678.9"},
		{"min.cleanable.dirty.ratio", "0.3333333333333333333"}, {"min.cleanable.dirty.ratio", "1_0"},
		{"cleanup.policy", "delete,delete"}, {"cleanup.policy", "compact,delete"}, {"cleanup.policy", "compact , delete,compact"},
		{"cleanup.policy", "delete,,compact"}, {"cleanup.policy", " "}, {"compression.type", " gzip "}, {"compression.type", " x "},
		{replicas, "0:1,0:1"}, {replicas, "0:1,"}, {replicas, ",0:1"}, {replicas, " 0:1 , 1:2 "}, {replicas, " * "}, {replicas, ","},
	} {
		resp, err := p.quiet(alter(topicResource, "conf", set(c[0], c[1])))
		if err != nil {
			p.say("%v → %v", c, err)
			continue
		}
		if r := resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0]; r.ErrorCode != 0 {
			p.say("%s=%q → %s %q", c[0], c[1], errorName(r.ErrorCode), or(r.ErrorMessage, "(null)"))
			continue
		}
		time.Sleep(50 * time.Millisecond) // a broker describes what has reached its metadata cache
		described, err := p.quiet(describeConfigs(4, topicResource, "conf", c[0]))
		if err != nil {
			p.say("%v → %v", c, err)
			continue
		}
		got := described.(*kmsg.DescribeConfigsResponse).Resources[0].Configs[0].Value
		p.say("%s=%q is described as %q", c[0], c[1], or(got, "(null)"))
	}
}

// configRanges tries values of every topic config at and beyond its range, each on a topic of its own.
func configRanges(p *probe) {
	for _, c := range configValues {
		for _, value := range c.values {
			req := creation(7, "values", 1, 1, withConfig(c.name, value))
			req.ValidateOnly = true
			resp, err := p.quiet(req)
			if err != nil {
				p.say("%s=%q → %v", c.name, value, err)
				continue
			}
			t := resp.(*kmsg.CreateTopicsResponse).Topics[0]
			if t.ErrorCode == 0 {
				p.say("%s=%q → NONE", c.name, value)
				continue
			}
			p.say("%s=%q → %s %q", c.name, value, errorName(t.ErrorCode), or(t.ErrorMessage, "(null)"))
		}
	}
	for _, c := range [][]string{
		{"remote.storage.enable", "true"},
		{"remote.storage.enable", "true", "cleanup.policy", "compact"},
		{"remote.log.copy.disable", "true"},
		{"remote.log.delete.on.disable", "true"},
		{"local.retention.ms", "5000", "retention.ms", "1000"},
		{"local.retention.bytes", "5000", "retention.bytes", "1000"},
		{"local.retention.ms", "-1", "retention.ms", "1000"},
		{"min.compaction.lag.ms", "10", "max.compaction.lag.ms", "5"},
		{"segment.jitter.ms", "99", "segment.ms", "9"},
		{"min.insync.replicas", "3"},
		{"segment.bytes", "1048576", "max.message.bytes", "9000000"},
	} {
		req := creation(7, "values", 1, 1, withConfig(c...))
		req.ValidateOnly = true
		p.ask(fmt.Sprintf("together %v", c), req)
	}
}

var configValues = []struct {
	name   string
	values []string
}{
	{"cleanup.policy", []string{
		"", "delete", "compact", "delete,compact", "compact,delete", "delete,delete", "Delete", "none", "delete,", ",", " delete ",
	}},
	{"compression.gzip.level", []string{"-1", "0", "1", "9", "10", "-2", "x"}},
	{"compression.lz4.level", []string{"0", "1", "17", "18", "-1"}},
	{"compression.zstd.level", []string{"-131073", "-131072", "0", "22", "23"}},
	{"compression.type", []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer", "none", "GZIP", ""}},
	{"delete.retention.ms", []string{"-1", "0", "9223372036854775807", "9223372036854775808", "1.5"}},
	{"file.delete.delay.ms", []string{"-1", "0"}},
	{"flush.messages", []string{"0", "1", "-1"}},
	{"flush.ms", []string{"0", "-1"}},
	{"follower.replication.throttled.replicas", []string{
		"", "*", "0:1", "0:1,1:2", "x", "0:1,*", "1", "0:1,0:1", "0:", "-1:1", "*,*", "0:1,", "0 : 1", " 0:1 , 1:2 ",
	}},
	{"leader.replication.throttled.replicas", []string{"", "*", "x"}},
	{"index.interval.bytes", []string{"0", "-1", "2147483647", "2147483648"}},
	{"local.retention.bytes", []string{"-3", "-2", "-1", "0", "5"}},
	{"local.retention.ms", []string{"-3", "-2", "-1", "0", "5"}},
	{"max.compaction.lag.ms", []string{"0", "1", "-1"}},
	{"max.message.bytes", []string{"-1", "0", "2147483647", "2147483648", "1e6", " 5 ", "+5", "0x10", "1_000"}},
	{"message.timestamp.after.max.ms", []string{"-1", "0", "1"}},
	{"message.timestamp.before.max.ms", []string{"-1", "0", "1"}},
	{"message.timestamp.type", []string{"CreateTime", "LogAppendTime", "createtime", ""}},
	{"min.cleanable.dirty.ratio", []string{"0", "1", "1.1", "-0.1", "0.5", "x", "1e-1", "NaN", ".5", "0.5d"}},
	{"min.compaction.lag.ms", []string{"-1", "0"}},
	{"min.insync.replicas", []string{"0", "1", "-1", "100"}},
	{"preallocate", []string{"true", "false", "TRUE", "True", " true ", "yes", "", "1"}},
	{"remote.log.copy.disable", []string{"true", "x"}},
	{"remote.log.delete.on.disable", []string{"true", "x"}},
	{"remote.storage.enable", []string{"true", "false", "x"}},
	{"retention.bytes", []string{"-2", "-1", "0", "1"}},
	{"retention.ms", []string{"-2", "-1", "0"}},
	{"segment.bytes", []string{"1048575", "1048576", "2147483647", "14", "13"}},
	{"internal.segment.bytes", []string{"1", "14", "100"}},
	{"segment.index.bytes", []string{"3", "4", "0"}},
	{"segment.jitter.ms", []string{"-1", "0"}},
	{"segment.ms", []string{"0", "1"}},
	{"unclean.leader.election.enable", []string{"true", "x"}},
	{"message.format.version", []string{"3.0"}},
	{"message.downconversion.enable", []string{"true"}},
	{"message.timestamp.difference.max.ms", []string{"1"}},
	{"confluent.tier.enable", []string{"true"}},
}
