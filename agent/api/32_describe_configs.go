package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
)

// DescribeConfigs, versions 1 to 4, for topics and for this agent. Of Kafka's broker configs those are answered that mean
// something here, with the values in force; none can be changed while the agent runs.

func init() { on(kmsg.DescribeConfigs, describeConfigs) }

// BrokerConfig is a config of this agent as clients see it, under the name that Kafka's brokers have for it.
type BrokerConfig struct {
	Name, Value string
	Type        topicconfig.Type
	Doc         string
}

func describeConfigs(ctx context.Context, s *Server, r wire.Request, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, resource := range req.Resources {
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName, rr.ErrorMessage = resource.ResourceType, resource.ResourceName, new(string)
		rr.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		configs, err := describeResource(ctx, s, s.node(r.Listener), resource)
		if rr.ErrorCode = code(err); err != nil {
			if text := message(err); text != nil && rr.ErrorCode != 3 { // Kafka has no text for an unknown topic
				rr.ErrorMessage = text
			}
		}
		for _, c := range configs {
			if len(resource.ConfigNames) > 0 && !slices.Contains(resource.ConfigNames, c.Name) {
				continue
			}
			if !req.IncludeSynonyms {
				c.ConfigSynonyms = nil
			}
			if !req.IncludeDocumentation {
				c.Documentation = nil
			}
			rr.Configs = append(rr.Configs, c)
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

func describeResource(ctx context.Context, s *Server, node int32, r kmsg.DescribeConfigsRequestResource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	switch r.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if err := topics.CheckName(r.ResourceName); err != nil {
			return nil, err
		}
		found, err := s.Catalog.FindOne(ctx, topics.Ref{Name: r.ResourceName})
		if err != nil {
			return nil, err
		}
		return topicConfigs(topics.Overrides(found.Configs)), nil
	case kmsg.ConfigResourceTypeBroker:
		if r.ResourceName == "" {
			return nil, nil // defaults of all brokers: none were set
		}
		if err := checkBroker(node, r.ResourceName, fmt.Sprintf("Broker id must be an integer, but it is: %s", r.ResourceName),
			fmt.Sprintf("%d or empty string", node)); err != nil {
			return nil, err
		}
		return brokerConfigs(s), nil
	}
	return nil, &topics.Error{Kind: topics.KindInvalidRequest, Message: "This most likely occurs because of a request being malformed by " +
		"the client library or the message was sent to an incompatible broker. See the broker logs for more details."}
}

// checkBroker refuses the name of another broker than this agent, which the client knows as node.
func checkBroker(node int32, name, notNumber, expected string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return &topics.Error{Kind: topics.KindInvalidRequest, Message: notNumber}
	}
	if int32(id) != node {
		return &topics.Error{Kind: topics.KindInvalidRequest,
			Message: fmt.Sprintf("Unexpected broker id, expected %s, but received %s", expected, name)}
	}
	return nil
}

func topicConfigs(overrides map[string]string) []kmsg.DescribeConfigsResponseResourceConfig {
	var list []kmsg.DescribeConfigsResponseResourceConfig
	for _, d := range topicconfig.All() {
		value, override, _ := topicconfig.Effective(overrides, d.Name)
		c := kmsg.NewDescribeConfigsResponseResourceConfig()
		c.Name, c.Value, c.ConfigType, c.Documentation = d.Name, &value, kmsg.ConfigType(d.Type), &d.Doc
		c.Source, c.IsDefault = kmsg.ConfigSourceDefaultConfig, true
		if override {
			c.Source, c.IsDefault = kmsg.ConfigSourceDynamicTopicConfig, false
			c.ConfigSynonyms = append(c.ConfigSynonyms, synonym(d.Name, value, kmsg.ConfigSourceDynamicTopicConfig))
		}
		if d.Synonym != "" {
			c.ConfigSynonyms = append(c.ConfigSynonyms, synonym(d.Synonym, d.Default, kmsg.ConfigSourceDefaultConfig))
		}
		list = append(list, c)
	}
	return list
}

func brokerConfigs(s *Server) []kmsg.DescribeConfigsResponseResourceConfig {
	var list []kmsg.DescribeConfigsResponseResourceConfig
	for _, b := range s.BrokerConfigs {
		c := kmsg.NewDescribeConfigsResponseResourceConfig()
		c.Name, c.Value, c.ConfigType, c.Documentation = b.Name, &b.Value, kmsg.ConfigType(b.Type), &b.Doc
		c.ReadOnly, c.Source = true, kmsg.ConfigSourceStaticBrokerConfig
		c.ConfigSynonyms = append(c.ConfigSynonyms, synonym(b.Name, b.Value, kmsg.ConfigSourceStaticBrokerConfig))
		list = append(list, c)
	}
	return list
}

func synonym(name, value string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfigConfigSynonym {
	return kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: name, Value: &value, Source: source}
}
