// Command record starts a real Apache Kafka broker and writes down what it answers, so that Leat's tables are compared
// with facts and not with memory:
//
//	go run ./cmd/interop/record
//
// writes, relative to the module root,
//
//	agent/api/versions/kafka-4.3.json          every API key with the versions the broker announces, and its features
//	agent/topicconfig/kafka-4.3-topic.json     every topic config: type, default, synonyms, documentation
//	agent/topicconfig/kafka-4.3-broker.json    every broker config, the same way
//
// It needs what cmd/interop/setup fetches. It must never write anything else.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/cmd/interop/javatools"
	"github.com/leat-stream/leat/cmd/interop/rawconn"
	"github.com/leat-stream/leat/localstack/proc"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := proc.Root()
	if err != nil {
		return err
	}
	kit, err := javatools.Find()
	if err != nil {
		return err
	}
	broker, err := kit.StartBroker(nil)
	if err != nil {
		return err
	}
	defer broker.Stop()
	conn, err := rawconn.Dial(broker.Addr, "leat-record")
	if err != nil {
		return err
	}
	defer conn.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	byKey, err := names(ctx, kit, broker.Addr)
	if err != nil {
		return err
	}
	versions, err := recordVersions(conn, byKey)
	if err != nil {
		return err
	}
	topic, err := recordTopic(conn)
	if err != nil {
		return err
	}
	node, err := describe(conn, kmsg.ConfigResourceTypeBroker, "1")
	if err != nil {
		return err
	}
	scrub(&node, broker.Dir)
	return errors.Join(
		write(root, "agent/api/versions/kafka-4.3.json", versions),
		write(root, "agent/topicconfig/kafka-4.3-topic.json", topic),
		write(root, "agent/topicconfig/kafka-4.3-broker.json", node),
	)
}

// Versions is what ApiVersions answers at its newest version, and whether the older versions answer the same keys.
type Versions struct {
	Keys              []Key             `json:"keys"`
	SupportedFeatures []Feature         `json:"supportedFeatures"`
	FinalizedFeatures []Feature         `json:"finalizedFeatures"`
	AnswerByVersion   map[string]string `json:"answerByVersion"`
}

// Key is one announced API key.
type Key struct {
	Key  int16  `json:"key"`
	Name string `json:"name"`
	Min  int16  `json:"min"`
	Max  int16  `json:"max"`
}

// Feature is a feature with its range of levels.
type Feature struct {
	Name string `json:"name"`
	Min  int16  `json:"min"`
	Max  int16  `json:"max"`
}

func recordVersions(conn *rawconn.Conn, names map[int16]string) (Versions, error) {
	out := Versions{AnswerByVersion: map[string]string{}}
	for v := int16(4); v >= 0; v-- {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version = v
		req.ClientSoftwareName, req.ClientSoftwareVersion = "leat-record", "1"
		answer, err := conn.Ask(req)
		if err != nil {
			return out, err
		}
		resp := answer.(*kmsg.ApiVersionsResponse)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return out, err
		}
		var keys []Key
		for _, k := range resp.ApiKeys {
			keys = append(keys, Key{k.ApiKey, names[k.ApiKey], k.MinVersion, k.MaxVersion})
		}
		slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(a.Key, b.Key) })
		if v == 4 {
			out.Keys = keys
			for _, f := range resp.SupportedFeatures {
				out.SupportedFeatures = append(out.SupportedFeatures, Feature{f.Name, f.MinVersion, f.MaxVersion})
			}
			for _, f := range resp.FinalizedFeatures {
				out.FinalizedFeatures = append(out.FinalizedFeatures, Feature{f.Name, f.MinVersionLevel, f.MaxVersionLevel})
			}
		}
		out.AnswerByVersion[fmt.Sprint(v)] = compare(keys, out.Keys, len(resp.SupportedFeatures))
	}
	byName := func(a, b Feature) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(out.SupportedFeatures, byName)
	slices.SortFunc(out.FinalizedFeatures, byName)
	return out, nil
}

func compare(keys, newest []Key, features int) string {
	if !slices.Equal(keys, newest) {
		return fmt.Sprintf("%d keys, not those of version 4; %d supported features", len(keys), features)
	}
	return fmt.Sprintf("the keys of version 4; %d supported features", features)
}

// Resource is a described resource.
type Resource struct {
	Configs []Config `json:"configs"`
}

// Config is one config as DescribeConfigs answers it.
type Config struct {
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	Value     *string   `json:"value"`
	Source    string    `json:"source"`
	ReadOnly  bool      `json:"readOnly,omitempty"`
	Sensitive bool      `json:"sensitive,omitempty"`
	Synonyms  []Synonym `json:"synonyms"`
	Doc       string    `json:"doc"`
}

// Synonym is one place where the value may come from, nearest first.
type Synonym struct {
	Name   string  `json:"name"`
	Value  *string `json:"value"`
	Source string  `json:"source"`
}

func recordTopic(conn *rawconn.Conn) (Resource, error) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "recorded", 1, 1
	req.Topics = append(req.Topics, topic)
	answer, err := conn.Ask(req)
	if err != nil {
		return Resource{}, err
	}
	if err := kerr.ErrorForCode(answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode); err != nil {
		return Resource{}, err
	}
	return describe(conn, kmsg.ConfigResourceTypeTopic, topic.Topic)
}

func describe(conn *rawconn.Conn, kind kmsg.ConfigResourceType, name string) (Resource, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms, req.IncludeDocumentation = 4, true, true
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kind, name
	req.Resources = append(req.Resources, resource)
	answer, err := conn.Ask(req)
	if err != nil {
		return Resource{}, err
	}
	r := answer.(*kmsg.DescribeConfigsResponse).Resources[0]
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return Resource{}, err
	}
	var out Resource
	for _, c := range r.Configs {
		cfg := Config{
			Name: c.Name, Type: c.ConfigType.String(), Value: c.Value, Source: c.Source.String(),
			ReadOnly: c.ReadOnly, Sensitive: c.IsSensitive, Synonyms: []Synonym{},
		}
		if c.Documentation != nil {
			cfg.Doc = *c.Documentation
		}
		for _, s := range c.ConfigSynonyms {
			cfg.Synonyms = append(cfg.Synonyms, Synonym{s.Name, s.Value, s.Source.String()})
		}
		out.Configs = append(out.Configs, cfg)
	}
	slices.SortFunc(out.Configs, func(a, b Config) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// scrub replaces the ports and folders that the recorder chose: they are no defaults of Kafka's, and recording twice
// must write the same file.
func scrub(r *Resource, dir string) {
	const chosen = "(chosen by the recorder)"
	for i := range r.Configs {
		c := &r.Configs[i]
		if c.Value != nil && (strings.Contains(*c.Value, "127.0.0.1:") || strings.Contains(*c.Value, dir)) {
			v := chosen
			c.Value = &v
		}
		for j := range c.Synonyms {
			s := &c.Synonyms[j]
			if s.Value != nil && (strings.Contains(*s.Value, "127.0.0.1:") || strings.Contains(*s.Value, dir)) {
				v := chosen
				s.Value = &v
			}
		}
	}
}

// names returns what Kafka's own tool calls each key.
func names(ctx context.Context, kit *javatools.Kit, addr string) (map[int16]string, error) {
	out, err := kit.Run(ctx, nil, javatools.APIVersions, "--bootstrap-server", addr)
	if err != nil {
		return nil, err
	}
	byKey := map[int16]string{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(\w+)\((\d+)\): `).FindAllStringSubmatch(out.Stdout, -1) {
		key, err := strconv.ParseInt(m[2], 10, 16)
		if err != nil {
			return nil, err
		}
		byKey[int16(key)] = m[1]
	}
	return byKey, nil
}

func write(root, name string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, name), b.Bytes(), 0o644)
}
