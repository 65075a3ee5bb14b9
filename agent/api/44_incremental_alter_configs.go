package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
)

// IncrementalAlterConfigs, versions 0 and 1, for topics. An agent's own configs are read-only.

func init() { on(kmsg.IncrementalAlterConfigs, incrementalAlterConfigs) }

func incrementalAlterConfigs(ctx context.Context, s *Server, asked wire.Request, req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	mentions := make(map[resource]int)
	for _, r := range req.Resources {
		mentions[resource{r.ResourceType, r.ResourceName}]++
	}
	for _, r := range req.Resources {
		var err error = &topics.Error{Kind: topics.KindInvalidRequest, Message: "Each resource must appear at most once."}
		if mentions[resource{r.ResourceType, r.ResourceName}] == 1 {
			err = alterResource(ctx, s, s.node(asked.Listener), r, req.ValidateOnly)
		}
		rr := kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName, rr.ErrorCode, rr.ErrorMessage = r.ResourceType, r.ResourceName, adminCode(err), message(err)
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

func alterResource(ctx context.Context, s *Server, node int32, r kmsg.IncrementalAlterConfigsRequestResource, validateOnly bool) error {
	invalid := func(format string, args ...any) error {
		return &topics.Error{Kind: topics.KindInvalidRequest, Message: fmt.Sprintf(format, args...)}
	}
	switch r.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if r.ResourceName == "" {
			return invalid("Default topic resources are not allowed.")
		}
		changes := make([]topicconfig.Change, len(r.Configs))
		for i, c := range r.Configs {
			changes[i] = topicconfig.Change{Name: c.Name, Op: topicconfig.Op(c.Op), Value: c.Value}
		}
		return s.Catalog.Alter(ctx, r.ResourceName, changes, validateOnly)
	case kmsg.ConfigResourceTypeBroker:
		if r.ResourceName != "" {
			if err := checkBroker(node, r.ResourceName, "Node id must be an integer, but it is: "+r.ResourceName,
				fmt.Sprint(node)); err != nil {
				return err
			}
		}
		var names []string
		for _, c := range r.Configs {
			names = append(names, c.Name)
		}
		if len(names) == 0 {
			return nil
		}
		slices.Sort(names)
		return invalid("Cannot update these configs dynamically: [%s]", strings.Join(names, ", "))
	}
	return invalid("Unknown resource type %d", r.ResourceType)
}
