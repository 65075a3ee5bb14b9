package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/wire"
)

// DescribeCluster, versions 0 to 2.

func init() { on(kmsg.DescribeCluster, describeCluster) }

func describeCluster(_ context.Context, s *Server, r wire.Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.EndpointType, resp.ControllerID, resp.ClusterAuthorizedOperations = 1, -1, noOperations
	if r.Version >= 1 && req.EndpointType != 1 {
		text := fmt.Sprintf("Unsupported endpoint type %d", req.EndpointType)
		resp.ErrorCode = kerr.UnsupportedEndpointType.Code
		if req.EndpointType == 2 {
			resp.ErrorCode = kerr.MismatchedEndpointType.Code
			text = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
		}
		resp.ErrorMessage = &text
		return resp
	}
	cluster := s.cluster(r)
	resp.ClusterID, resp.ControllerID = s.clusterID(), cluster.controller
	for _, m := range cluster.members {
		resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{NodeID: m.node, Host: m.host, Port: m.port, Rack: m.rack})
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	return resp
}
