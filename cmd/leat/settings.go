package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/leat-stream/leat/agent"
)

// setting is one thing that an agent can be told: by a flag --name, by LEAT_NAME in the environment (upper case, _ for -), or
// by name in the YAML file; the first of these that says something wins.
type setting struct {
	name   string
	usage  string
	repeat bool                                    // may be given several times; a comma separates values in the environment
	value  func(c *options) string                 // as it is, for the default and for `leat config`
	set    func(c *options, values []string) error // one value unless repeat
}

// options is everything that settings fill.
type options struct {
	agent     agent.Config
	logLevel  string
	logFormat string

	listen, advertise []string // put together by finish
}

// settings are all there are, in the order in which people meet them.
var settings = []setting{
	{name: "store", usage: "bucket: file:///dir, s3://bucket/prefix?endpoint=…&region=…&path_style=true, minio://host:port/bucket/prefix?tls=false or mem:",
		value: func(o *options) string { return o.agent.Store }, set: one(func(o *options, v string) error { o.agent.Store = v; return nil })},
	{name: "journal", usage: "metadata journal: bucket:, etcd://host:port,…/prefix (etcds:// for TLS, with ?ca=FILE&cert=FILE&key=FILE), bolt:///file or mem: (default: bucket: for s3 and minio, bolt beside file:, mem: beside mem:)",
		value: func(o *options) string { return o.agent.Journal }, set: one(func(o *options, v string) error { o.agent.Journal = v; return nil })},
	{name: "listen", usage: "[NAME=]HOST:PORT[?proxy=v2&zone=ZONE] for Kafka clients; repeatable, each with a name of its own; proxy=v2: only a balancer connects here, and sends PROXY protocol v2 headers; zone: of the clients that connect here", repeat: true,
		value: func(o *options) string { return strings.Join(o.listen, ",") },
		set:   func(o *options, v []string) error { o.listen = v; return nil }},
	{name: "advertise", usage: "[NAME=]HOST:PORT that clients of a listener are told to connect to (default: the bound address); shared=HOST:PORT: of a balancer before all agents, for every listener that has no other", repeat: true,
		value: func(o *options) string { return strings.Join(o.advertise, ",") },
		set:   func(o *options, v []string) error { o.advertise = v; return nil }},
	{name: "max-connection-age", usage: "how long a client's connection lasts, give or take a fifth, until it must connect again; 0: without end; auto: 15m if its listener advertises a shared address",
		value: maxAge, set: one(setMaxAge)},
	{name: "peer", usage: "[BIND=]HOST:PORT where other agents reach this one; BIND: HOST:PORT to listen on, if that is another, as behind a NAT, a container's published port or a proxy (default: the first listener's host and a free port)",
		value: peerAddress, set: one(setPeerAddress)},
	{name: "http", usage: "HOST:PORT[?proxy=v2] of /metrics, /healthz, /readyz and /debug/pprof; proxy=v2: a connection may begin with a PROXY protocol v2 header, as a balancer's health checks do; auto: 127.0.0.1:9644, or a free port if that is taken; empty: none",
		value: func(o *options) string { return o.agent.HTTP }, set: one(func(o *options, v string) error { o.agent.HTTP = v; return nil })},
	{name: "cluster", usage: "name of the cluster within the bucket",
		value: func(o *options) string { return o.agent.Cluster }, set: one(func(o *options, v string) error { o.agent.Cluster = v; return nil })},
	{name: "name", usage: "stable name of this agent, which keeps its broker id (default: the machine's name and the first listener's port)",
		value: func(o *options) string { return o.agent.Name }, set: one(func(o *options, v string) error { o.agent.Name = v; return nil })},
	{name: "zone", usage: "availability zone that this agent runs in",
		value: func(o *options) string { return o.agent.Wire.Zone }, set: one(func(o *options, v string) error { o.agent.Wire.Zone = v; return nil })},
	{name: "cache-dir", usage: "folder of the disk cache, used by one agent; empty: memory only",
		value: func(o *options) string { return o.agent.Cache.Dir }, set: one(func(o *options, v string) error { o.agent.Cache.Dir = v; return nil })},
	{name: "cache-memory", usage: "bytes of the memory cache, as 256MiB",
		value: func(o *options) string { return size(o.agent.Cache.MemoryBytes) },
		set:   one(func(o *options, v string) error { return bytes(v, &o.agent.Cache.MemoryBytes) })},
	{name: "cache-disk", usage: "bytes of the disk cache, as 10GiB",
		value: func(o *options) string { return size(o.agent.Cache.DiskBytes) },
		set:   one(func(o *options, v string) error { return bytes(v, &o.agent.Cache.DiskBytes) })},
	{name: "flush-interval", usage: "longest time that records gather before they are stored",
		value: func(o *options) string { return o.agent.Produce.FlushInterval.String() },
		set:   one(func(o *options, v string) error { return duration(v, &o.agent.Produce.FlushInterval) })},
	{name: "flush-bytes", usage: "bytes at which gathered records are stored at once",
		value: func(o *options) string { return size(o.agent.Produce.FlushBytes) },
		set:   one(func(o *options, v string) error { return bytes(v, &o.agent.Produce.FlushBytes) })},
	{name: "early-puts", usage: "PUTs a second allowed on average before interval or size is reached, to answer sooner; -1: any number; auto: any number unless the store is paid by the request",
		value: earlyPuts, set: one(setEarlyPuts)},
	{name: "auto-create-topics", usage: "make a topic when a client asks for one that does not exist",
		value: func(o *options) string { return strconv.FormatBool(o.agent.Topics.AutoCreate) },
		set: one(func(o *options, v string) (err error) {
			o.agent.Topics.AutoCreate, err = strconv.ParseBool(v)
			return plain(err)
		})},
	{name: "default-partitions", usage: "partitions of topics whose creator does not say",
		value: func(o *options) string { return strconv.Itoa(int(o.agent.Topics.Partitions)) },
		set: one(func(o *options, v string) error {
			n, err := strconv.ParseInt(v, 10, 32)
			o.agent.Topics.Partitions = int32(n)
			return plain(err)
		})},
	{name: "log-level", usage: "debug, info, warn or error",
		value: func(o *options) string { return o.logLevel }, set: one(func(o *options, v string) error { o.logLevel = v; return nil })},
	{name: "log-format", usage: "text (key=value) or json, one line each, on standard error",
		value: func(o *options) string { return o.logFormat }, set: one(func(o *options, v string) error { o.logFormat = v; return nil })},
}

// defaults is what an agent does that is told nothing: everything below ./leat-data.
func defaults() *options {
	o := &options{agent: agent.Default(), logLevel: "info", logFormat: "text", listen: []string{"127.0.0.1:9092"}}
	dir, err := filepath.Abs("leat-data/bucket")
	if err != nil {
		dir = "/var/lib/leat/bucket"
	}
	o.agent.Store = (&url.URL{Scheme: "file", Path: dir}).String()
	o.agent.Produce.EarlyPuts = autoPuts
	o.agent.Wire.MaxAge = autoAge
	o.agent.Process.Version = version()
	return o
}

// autoPuts stands for "decide by the store" until finish.
const autoPuts = -2

func earlyPuts(o *options) string {
	if o.agent.Produce.EarlyPuts == autoPuts {
		return "auto"
	}
	return strconv.FormatFloat(o.agent.Produce.EarlyPuts, 'g', -1, 64)
}

func setEarlyPuts(o *options, v string) error {
	if v == "auto" {
		o.agent.Produce.EarlyPuts = autoPuts
		return nil
	}
	rate, err := strconv.ParseFloat(v, 64)
	if err != nil || (rate < 0 && rate != -1) || rate != rate {
		return errors.New("want a number of at least 0, -1 or auto")
	}
	o.agent.Produce.EarlyPuts = rate
	return nil
}

// one adapts a setting that has a single value.
func one(set func(*options, string) error) func(*options, []string) error {
	return func(o *options, values []string) error {
		if len(values) != 1 {
			return errors.New("want one value")
		}
		return set(o, values[0])
	}
}

// plain leaves out what strconv tells of its own functions.
func plain(err error) error {
	if e, ok := errors.AsType[*strconv.NumError](err); ok {
		return e.Err
	}
	return err
}

func size(n int64) string { return strings.ReplaceAll(humanize.IBytes(uint64(n)), " ", "") }

func bytes(v string, to *int64) error {
	n, err := humanize.ParseBytes(v)
	if err != nil || n > 1<<62 {
		return errors.New("want bytes, as 1048576, 8MiB or 2GiB")
	}
	*to = int64(n)
	return nil
}

func duration(v string, to *time.Duration) error {
	d, err := time.ParseDuration(v)
	if err != nil {
		return errors.New("want a duration, as 250ms or 2s")
	}
	*to = d
	return nil
}

// env is the environment variable of a setting.
func env(name string) string {
	return "LEAT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// addFlags makes a flag of every setting.
func addFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	o := defaults()
	for _, s := range settings {
		if s.repeat {
			flags.StringArray(s.name, nil, s.usage+defaultOf(s.value(o)))
		} else {
			flags.String(s.name, "", s.usage+defaultOf(s.value(o)))
		}
	}
	flags.Lookup("auto-create-topics").NoOptDefVal = "true"
	flags.String("config", "", "YAML file with any of these settings by name; or LEAT_CONFIG")
}

func defaultOf(value string) string {
	if value == "" {
		return ""
	}
	return " (default " + value + ")"
}

// source tells where a value came from.
type source struct{ name, from string }

// load fills options from flags, environment and file, and tells where each value came from.
func load(flags *pflag.FlagSet) (*options, []source, error) {
	o := defaults()
	file, path, err := readFile(flags)
	if err != nil {
		return nil, nil, err
	}
	var sources []source
	for _, s := range settings {
		values, from, err := s.find(flags, file, path)
		if err != nil {
			return nil, nil, err
		}
		if from == "default" {
			sources = append(sources, source{s.name, from})
			continue
		}
		if err := s.set(o, values); err != nil {
			return nil, nil, fmt.Errorf("%s from %s: %q: %w", s.name, from, strings.Join(values, ","), err)
		}
		sources = append(sources, source{s.name, from})
	}
	return o, sources, o.finish()
}

// find answers the values of a setting from the first place that has any.
func (s setting) find(flags *pflag.FlagSet, file map[string][]string, path string) (values []string, from string, err error) {
	if f := flags.Lookup(s.name); f != nil && f.Changed {
		if s.repeat {
			values, err = flags.GetStringArray(s.name)
			return values, "flag --" + s.name, err
		}
		return []string{f.Value.String()}, "flag --" + s.name, nil
	}
	if v, ok := os.LookupEnv(env(s.name)); ok {
		if s.repeat {
			return strings.Split(v, ","), "environment " + env(s.name), nil
		}
		return []string{v}, "environment " + env(s.name), nil
	}
	if values, ok := file[s.name]; ok {
		return values, "file " + path, nil
	}
	return nil, "default", nil
}

// readFile reads the YAML file, if there is one: names of settings, with a scalar or a list of scalars.
func readFile(flags *pflag.FlagSet) (map[string][]string, string, error) {
	path, _ := flags.GetString("config")
	if path == "" {
		path = os.Getenv("LEAT_CONFIG")
	}
	if path == "" {
		return nil, "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, path, fmt.Errorf("config file: %w", err)
	}
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(text, &nodes); err != nil {
		return nil, path, fmt.Errorf("config file %s: %w", path, err)
	}
	values := make(map[string][]string, len(nodes))
	for name, node := range nodes {
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
			return nil, path, fmt.Errorf("config file %s, line %d: unknown setting %q", path, node.Line, name)
		}
		switch node.Kind {
		case yaml.ScalarNode:
			values[name] = []string{node.Value}
		case yaml.SequenceNode:
			for _, n := range node.Content {
				values[name] = append(values[name], n.Value)
			}
		default:
			return nil, path, fmt.Errorf("config file %s, line %d: %s must be a value or a list of values", path, node.Line, name)
		}
	}
	return values, path, nil
}

// finish puts together what several settings say.
func (o *options) finish() error {
	auto := o.agent.Produce.EarlyPuts == autoPuts
	if auto {
		o.agent.Produce.EarlyPuts = agent.Default().Produce.EarlyPuts
		o.agent.Tune()
	}
	if _, ok := levels[o.logLevel]; !ok {
		return fmt.Errorf("log-level %q: want debug, info, warn or error", o.logLevel)
	}
	if _, ok := formats[o.logFormat]; !ok {
		return fmt.Errorf("log-format %q: want text or json", o.logFormat)
	}
	return o.listeners()
}
