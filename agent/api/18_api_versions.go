package api

import (
	"context"
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/wire"
)

// ApiVersions, versions 0 to 4. An unknown version never comes here: wire answers it (KIP-511). No feature is announced:
// those of Kafka 4.3 name what Leat does not have.

func init() { on(kmsg.ApiVersions, apiVersions) }

// softwareName is what KIP-511 allows as a client's software name and version.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

func apiVersions(_ context.Context, s *Server, r wire.Request, req *kmsg.ApiVersionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	if r.Version >= 3 && (!softwareName.MatchString(req.ClientSoftwareName) || !softwareName.MatchString(req.ClientSoftwareVersion)) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	}
	for _, v := range versions.Announced() {
		resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: v.Key, MinVersion: v.Min, MaxVersion: v.Max})
	}
	resp.FinalizedFeaturesEpoch = -1
	return resp
}
