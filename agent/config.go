package agent

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/leat-stream/leat/agent/api"
	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/upkeep"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata/replica"
	"github.com/leat-stream/leat/metadata/state"
)

// Config is everything an agent can be told. cmd/leat fills it from flags, environment and file; what a part of the agent
// alone cares about is in that part's own Config.
type Config struct {
	Store   string      // URL of the bucket
	Journal string      // URL of the metadata journal; "": DefaultJournal
	Cluster string      // name of the cluster within the bucket
	Name    string      // stable name of this agent, keeps its broker id; "": machine and port, see agentName
	Peer    PeerAddress // where other agents reach this one
	HTTP    string      // where metrics, health and profiles are, see HTTPAddress; "": nowhere
	// SnapshotBytes of journal entries are written between two snapshots of the metadata.
	SnapshotBytes int64

	Wire    wire.Config // Zone in it is the agent's own
	Cache   cache.Config
	Produce produce.Config
	Fetch   fetch.Config
	Topics  topics.Config
	Group   group.Config
	Upkeep  upkeep.Config

	Process Process
}

// Process is what this process tells of itself.
type Process struct {
	Version string // of the build, "" if that is unknown

	earlier int        // lives before this one, see Live
	session state.UUID // of the present life
}

// autoHTTP is usualHTTP, or a free port if another agent of this machine has that.
const (
	autoHTTP  = "auto"
	usualHTTP = "127.0.0.1:9644"
)

// Default is what `leat agent` starts with when told nothing.
func Default() Config {
	return Config{
		Store: "file:///var/lib/leat/bucket", Cluster: "leat", HTTP: autoHTTP,
		Wire: wire.Default(), Cache: cache.Default(), Produce: produce.Default(), Fetch: fetch.Default(),
		Topics: topics.Default(), Group: group.Default(), Upkeep: upkeep.Default(), SnapshotBytes: replica.Default().SnapshotBytes,
	}
}

// Validate names everything that is wrong, one line each.
func (c Config) Validate() error {
	var errs []error
	if c.HTTP != "" {
		_, _, err := HTTPAddress(c.HTTP)
		errs = append(errs, err)
	}
	if err := c.Peer.validate(); err != nil {
		errs = append(errs, err)
	}
	for _, l := range c.Wire.Listeners {
		if host, _, err := net.SplitHostPort(l.Address); err == nil && l.Advertised == "" && (host == "" || net.ParseIP(host).IsUnspecified()) {
			errs = append(errs, fmt.Errorf("listener %q on %s has no address that clients can connect to: say which with --advertise", l.Name, l.Address))
		}
	}
	errs = append(errs, c.Wire.Validate(), c.Cache.Validate(), c.Produce.Validate(), c.Fetch.Validate(), c.Topics.Validate(),
		c.Group.Validate(), c.Upkeep.Validate())
	return errors.Join(errs...)
}

// HTTPAddress reads Config.HTTP, HOST:PORT or "auto" (see autoHTTP), and ?proxy=v2 behind it. proxied: a connection may begin with a PROXY
// protocol header, version 2, as a balancer that sends them to its targets sends them before its health checks, too. Error: setting is none of this.
func HTTPAddress(setting string) (address string, proxied bool, err error) {
	address, query, asked := strings.Cut(setting, "?")
	if asked && query != "proxy=v2" {
		return "", false, fmt.Errorf("http address %q: want HOST:PORT, and nothing behind it but ?proxy=v2", setting)
	}
	if address != autoHTTP {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return "", false, fmt.Errorf("http address %q: %w", setting, err)
		}
	}
	return address, asked, nil
}

// localStore reports whether a store keeps its objects on this machine only.
func localStore(url string) bool {
	return strings.HasPrefix(url, "file:") || strings.HasPrefix(url, "mem:")
}

// Tune adapts what depends on the kind of store: requests to a store on this machine, or to one's own S3-compatible
// server, cost nothing, so nothing needs to wait for company; and a store on this machine needs no pace for old data.
func (c *Config) Tune() {
	if localStore(c.Store) {
		c.Produce.EarlyPuts = -1
		c.Cache.BackfillBytesPerSecond = 0
		return
	}
	if strings.HasPrefix(c.Store, "minio:") || strings.Contains(c.Store, "endpoint=") {
		c.Produce.EarlyPuts = -1
	}
}

// brokerConfigs lists the configs of Kafka's brokers that mean something here, with the values in force, ordered by name.
func (c Config) brokerConfigs() []api.BrokerConfig {
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []api.BrokerConfig{
		{Name: "auto.create.topics.enable", Value: strconv.FormatBool(c.Topics.AutoCreate), Type: topicconfig.Boolean,
			Doc: "Make a topic when a client asks for one that does not exist."},
		{Name: "connections.max.idle.ms", Value: ms(c.Wire.Idle), Type: topicconfig.Long,
			Doc: "Idle connections are closed after this many milliseconds."},
		{Name: "default.replication.factor", Value: number(int64(c.Topics.ReplicationFactor)), Type: topicconfig.Int,
			Doc: "Reported for topics whose creator does not say; the object store replicates by itself."},
		{Name: "fetch.max.bytes", Value: number(c.Fetch.MaxBytes), Type: topicconfig.Int,
			Doc: "The most bytes of record batches that one fetch answers."},
		{Name: "group.initial.rebalance.delay.ms", Value: ms(c.Group.InitialRebalanceDelay), Type: topicconfig.Int,
			Doc: "How long an empty group waits for more members before its first rebalance."},
		{Name: "group.max.session.timeout.ms", Value: ms(c.Group.MaxSessionTimeout), Type: topicconfig.Int,
			Doc: "The longest session timeout of a group's member."},
		{Name: "group.max.size", Value: number(int64(c.Group.MaxSize)), Type: topicconfig.Int,
			Doc: "The most members of a group."},
		{Name: "group.min.session.timeout.ms", Value: ms(c.Group.MinSessionTimeout), Type: topicconfig.Int,
			Doc: "The shortest session timeout of a group's member."},
		{Name: "num.partitions", Value: number(int64(c.Topics.Partitions)), Type: topicconfig.Int,
			Doc: "Partitions of topics whose creator does not say."},
		{Name: "offset.metadata.max.bytes", Value: number(int64(c.Group.OffsetMetadataMax)), Type: topicconfig.Int,
			Doc: "The longest metadata of a committed offset."},
		{Name: "offsets.retention.minutes", Value: number(int64(c.Group.OffsetsRetention / time.Minute)), Type: topicconfig.Int,
			Doc: "Offsets of a group that has had no members for so long are deleted."},
		{Name: "socket.request.max.bytes", Value: number(int64(c.Wire.MaxFrame)), Type: topicconfig.Int,
			Doc: "The largest request."},
	}
}
