// Command probe sends a server the requests at the edges of the Kafka protocol, right and wrong ones, and prints what
// comes back, one line each, in a form that is the same on every run:
//
//	go run ./cmd/interop/probe                        asks an Apache Kafka broker that it starts itself
//	go run ./cmd/interop/probe -addr 127.0.0.1:9092   asks that server
//
// The difference between two transcripts is the difference between two servers; kafka-4.3.txt beside this file is
// Apache Kafka's own. It makes and deletes topics and
// groups: it must never be pointed at a server whose data matters.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/cmd/interop/javatools"
	"github.com/leat-stream/leat/cmd/interop/rawconn"
)

var sections = []struct {
	name string
	run  func(*probe) error
}{
	{"produce", probeProduce},
	{"fetch", probeFetch},
	{"listoffsets", probeListOffsets},
	{"metadata", probeMetadata},
	{"topics", probeTopics},
	{"configs", probeConfigs},
	{"coordinator", probeCoordinator},
	{"producerid", probeProducerID},
	{"join", probeJoin},
	{"offsets", probeOffsets},
	{"groups", probeGroups},
	{"connection", probeConnection},
}

func main() {
	addr := flag.String("addr", "", "`host:port` to ask; empty starts Apache Kafka")
	only := flag.String("only", "", "comma-separated `sections`; empty means all")
	flag.Parse()
	if err := run(*addr, *only); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(addr, only string) error {
	if addr == "" {
		kit, err := javatools.Find()
		if err != nil {
			return err
		}
		broker, err := kit.StartBroker(nil)
		if err != nil {
			return err
		}
		defer broker.Stop()
		addr = broker.Addr
	}
	for _, s := range sections {
		if only != "" && !strings.Contains(","+only+",", ","+s.name+",") {
			continue
		}
		p := &probe{addr: addr, out: os.Stdout, topics: map[string][16]byte{}}
		p.say("\n## %s", s.name)
		err := s.run(p)
		p.close()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// probe is one section's connection and transcript, owned by one goroutine.
type probe struct {
	addr   string
	out    io.Writer
	conn   *rawconn.Conn
	topics map[string][16]byte // ids of the topics that topic made
}

func (p *probe) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

func (p *probe) dial() error {
	if p.conn != nil {
		return nil
	}
	c, err := rawconn.Dial(p.addr, "leat-probe")
	p.conn = c
	return err
}

func (p *probe) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// ask prints label and what req gets: the answer, or that the connection was closed. It returns the answer or nil.
func (p *probe) ask(label string, req kmsg.Request) kmsg.Response {
	resp, err := p.quiet(req)
	head := fmt.Sprintf("%s [%s v%d]", label, kmsg.NameForKey(req.Key()), req.GetVersion())
	switch {
	case errors.Is(err, io.EOF):
		p.say("%s → connection closed", head)
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.say("%s → no answer within 10 s", head)
	case err != nil:
		p.say("%s → %v", head, err)
	default:
		p.say("%s → %s", head, render(resp))
	}
	return resp
}

// quiet is ask without the transcript.
func (p *probe) quiet(req kmsg.Request) (kmsg.Response, error) {
	if err := p.dial(); err != nil {
		return nil, err
	}
	resp, err := p.conn.Ask(req)
	if err != nil {
		p.close()
		return nil, err
	}
	return resp, nil
}

// topic makes a topic with config key, value, key, value… and waits until it can be written to.
func (p *probe) topic(name string, partitions int32, config ...string) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(config); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = config[i], &config[i+1]
		t.Configs = append(t.Configs, c)
	}
	req.Topics = append(req.Topics, t)
	resp, err := p.quiet(req)
	if err != nil {
		return err
	}
	got := resp.(*kmsg.CreateTopicsResponse).Topics[0]
	if got.ErrorCode != 0 {
		return fmt.Errorf("create %s: %s", name, errorName(got.ErrorCode))
	}
	p.topics[name] = got.TopicID
	return p.awaitTopic(name)
}

// awaitTopic waits until the earliest offset of the topic's first partition can be asked for: then its log is there.
func (p *probe) awaitTopic(name string) error {
	for range 200 {
		resp, err := p.quiet(listOffsets(7, name, 0, -2, 0))
		if err != nil {
			return err
		}
		if resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode == 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("topic %s does not appear", name)
}

func listOffsets(version int16, topic string, partition int32, timestamp int64, isolation int8) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID, req.IsolationLevel = version, -1, isolation
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	q := kmsg.NewListOffsetsRequestTopicPartition()
	q.Partition, q.Timestamp, q.CurrentLeaderEpoch = partition, timestamp, -1
	t.Partitions = append(t.Partitions, q)
	req.Topics = append(req.Topics, t)
	return req
}
