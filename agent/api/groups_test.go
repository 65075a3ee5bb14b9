package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

func join(version int16, group, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = version, group, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 10_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("m")}}
	return req
}

func syncWith(version int16, group, member string, generation int32) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = version, group, member, generation
	req.ProtocolType, req.Protocol = ptr("consumer"), ptr("range")
	req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: member, MemberAssignment: []byte("mine")}}
	return req
}

func beat(version int16, group, member string, generation int32) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = version, group, member, generation
	return req
}

func leave(version int16, group, member string) *kmsg.LeaveGroupRequest {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group, req.MemberID = version, group, member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = member
	req.Members = []kmsg.LeaveGroupRequestMember{m}
	return req
}

// TestAMembersLifeInEveryVersion joins, syncs, beats and leaves in each version that these calls have.
func TestAMembersLifeInEveryVersion(t *testing.T) {
	s := newServer(t)
	for version := int16(0); version <= 9; version++ {
		name := fmt.Sprint("g", version)
		joined := s.ask(join(version, name, "")).(*kmsg.JoinGroupResponse)
		if version >= 4 {
			if got := errorsOf(joined); got != "MEMBER_ID_REQUIRED" || !strings.HasPrefix(joined.MemberID, "test-") || joined.Generation != -1 ||
				(joined.Protocol == nil) != (version >= 7) {
				t.Fatalf("v%d: %+v", version, joined)
			}
			joined = s.ask(join(version, name, joined.MemberID)).(*kmsg.JoinGroupResponse)
		}
		member := joined.MemberID
		if errorsOf(joined) != "ok" || joined.Generation != 1 || joined.LeaderID != member || *joined.Protocol != "range" || len(joined.Members) != 1 ||
			string(joined.Members[0].ProtocolMetadata) != "m" || version >= 7 && *joined.ProtocolType != "consumer" {
			t.Fatalf("v%d: %+v", version, joined)
		}
		synced := s.ask(syncWith(min(version, 5), name, member, 1)).(*kmsg.SyncGroupResponse)
		if errorsOf(synced) != "ok" || string(synced.MemberAssignment) != "mine" || version >= 5 && *synced.Protocol != "range" {
			t.Fatalf("v%d: %+v", version, synced)
		}
		described := s.ask(edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) {
			r.Version, r.Groups, r.IncludeAuthorizedOperations = 5, []string{name}, true
		})).(*kmsg.DescribeGroupsResponse).Groups[0]
		if described.State != "Stable" || described.AuthorizedOperations != 3400 || len(described.Members) != 1 || described.Members[0].ClientHost != "/10.0.0.1" {
			t.Errorf("v%d: %+v", version, described)
		}
		s.table([]ask{
			{name, beat(min(version, 4), name, member, 1), "ok"},
			{name, leave(min(version, 5), name, member), map[bool]string{true: "ok ok", false: "ok"}[version >= 3]},
			{name, leave(min(version, 5), name, member), map[bool]string{true: "ok UNKNOWN_MEMBER_ID", false: "UNKNOWN_MEMBER_ID"}[version >= 3]},
		})
	}
}

func TestGroupErrors(t *testing.T) {
	s := newServer(t)
	s.create("t", 1)
	joined := s.ask(join(3, "g", "")).(*kmsg.JoinGroupResponse)
	m := joined.MemberID
	long := strings.Repeat("g", 40_000)
	noProtocol := edited(syncWith(5, "g", m, 1), func(r *kmsg.SyncGroupRequest) { r.Protocol = nil })
	member := func(version int16, change func(*kmsg.OffsetCommitRequest)) kmsg.Request {
		return edited(commitOne(version, "g", "t", 0), func(r *kmsg.OffsetCommitRequest) {
			r.MemberID, r.Generation = m, 1
			change(r)
		})
	}
	s.table([]ask{
		{"no group id", join(9, "", ""), "INVALID_GROUP_ID"},
		{"long group id", join(9, long, ""), "INVALID_GROUP_ID"},
		{"unknown member", join(9, "g", "who"), "UNKNOWN_MEMBER_ID"},
		{"session too short", edited(join(9, "g", ""), func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 }), "INVALID_SESSION_TIMEOUT"},
		{"no protocols", edited(join(9, "g", ""), func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"between join and sync", beat(4, "g", m, 1), "ok"},
		{"commit between join and sync", member(9, func(*kmsg.OffsetCommitRequest) {}), "REBALANCE_IN_PROGRESS"},
		{"no protocol", noProtocol, "INCONSISTENT_GROUP_PROTOCOL"},
		{"other protocol", edited(syncWith(5, "g", m, 1), func(r *kmsg.SyncGroupRequest) { r.Protocol = ptr("sticky") }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"sync of another generation", syncWith(5, "g", m, 9), "ILLEGAL_GENERATION"},
		{"sync of an unknown member", syncWith(5, "g", "who", 1), "UNKNOWN_MEMBER_ID"},
		{"sync of an unknown group", syncWith(5, "nobody", m, 1), "UNKNOWN_MEMBER_ID"},
		{"sync", syncWith(5, "g", m, 1), "ok"},
		{"another generation", beat(4, "g", m, 9), "ILLEGAL_GENERATION"},
		{"beat of an unknown member", beat(4, "g", "who", 1), "UNKNOWN_MEMBER_ID"},
		{"beat of no group", beat(4, "", m, 1), "INVALID_GROUP_ID"},
		{"commit", member(9, func(*kmsg.OffsetCommitRequest) {}), "ok"},
		{"commit of another generation", member(9, func(r *kmsg.OffsetCommitRequest) { r.Generation = 9 }), "ILLEGAL_GENERATION"},
		{"commit of an unknown member", member(9, func(r *kmsg.OffsetCommitRequest) { r.MemberID = "who" }), "UNKNOWN_MEMBER_ID"},
		{"simple commit to a group with members", commitOne(9, "g", "t", 0), "UNKNOWN_MEMBER_ID"},
		{"commit to an unknown topic", commitOne(9, "simple", "nowhere", 0), unknownTopic},
		{"commit to an unknown partition", commitOne(9, "simple", "t", 1), unknownTopic},
		{"commit to an unknown id", edited(commitOne(10, "simple", "", 0), func(r *kmsg.OffsetCommitRequest) { r.Topics[0].TopicID = [16]byte{7} }), unknownID},
		{"large metadata", edited(commitOne(9, "simple", "t", 0), func(r *kmsg.OffsetCommitRequest) {
			r.Topics[0].Partitions[0].Metadata = ptr(strings.Repeat("m", 4097))
		}), "OFFSET_METADATA_TOO_LARGE"},
		{"generation of no group", edited(commitOne(9, "nobody", "t", 0), func(r *kmsg.OffsetCommitRequest) { r.MemberID, r.Generation = "m", 1 }), "GROUP_ID_NOT_FOUND"},
		{"before version 9", edited(commitOne(8, "nobody", "t", 0), func(r *kmsg.OffsetCommitRequest) { r.MemberID, r.Generation = "m", 1 }), "ILLEGAL_GENERATION"},
		{"delete with members", edited(kmsg.NewPtrDeleteGroupsRequest(), func(r *kmsg.DeleteGroupsRequest) { r.Groups = []string{"g", "nobody", "g"} }), "NON_EMPTY_GROUP GROUP_ID_NOT_FOUND"},
		{"describe an unknown group", edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Version, r.Groups = 6, []string{"nobody"} }), "GROUP_ID_NOT_FOUND"},
		{"before version 6", edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Version, r.Groups = 5, []string{"nobody"} }), "ok"},
	})
}

func TestOffsetFetch(t *testing.T) {
	s := newServer(t)
	id := s.create("t", 2)
	s.create("u", 1)
	committed := edited(commitOne(9, "g", "t", 1), func(r *kmsg.OffsetCommitRequest) {
		r.Topics[0].Partitions[0].LeaderEpoch, r.Topics[0].Partitions[0].Metadata = 3, nil
	})
	s.table([]ask{{"commit", committed, "ok"}, {"commit", commitOne(9, "g", "u", 0), "ok"}})
	many := func(version int16, groups ...kmsg.OffsetFetchRequestGroup) string {
		resp := s.ask(edited(kmsg.NewPtrOffsetFetchRequest(), func(r *kmsg.OffsetFetchRequest) { r.Version, r.Groups = version, groups })).(*kmsg.OffsetFetchResponse)
		out := ""
		for _, g := range resp.Groups {
			out += fmt.Sprintf("%s %s:", g.Group, errorName(g.ErrorCode))
			for _, topic := range g.Topics {
				for _, p := range topic.Partitions {
					out += fmt.Sprintf(" %s-%d=%d/%d/%q %s", topic.Topic, p.Partition, p.Offset, p.LeaderEpoch, *p.Metadata, errorName(p.ErrorCode))
				}
			}
			out += "; "
		}
		return strings.TrimSpace(out)
	}
	of := func(group, topic string, id [16]byte, partitions ...int32) kmsg.OffsetFetchRequestGroup {
		return kmsg.OffsetFetchRequestGroup{Group: group, MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, TopicID: id, Partitions: partitions}}}
	}
	for _, tt := range []struct{ got, want string }{
		{many(8, of("g", "t", id, 0, 1)), `g ok: t-0=-1/-1/"" ok t-1=7/3/"" ok;`},
		{many(8, of("g", "t", id, 1), of("nobody", "t", id, 1), of("g", "t", id, 1)), `g ok: t-1=7/3/"" ok; nobody ok: t-1=-1/-1/"" ok; g ok: t-1=7/3/"" ok;`},
		{many(8, of("g", "nowhere", id, 0)), `g ok: nowhere-0=-1/-1/"" ok;`},
		{many(10, of("g", "", id, 1)), `g ok: -1=7/3/"" ok;`},
		{many(10, of("g", "", [16]byte{7}, 1)), `g ok: -1=-1/-1/"" UNKNOWN_TOPIC_ID;`},
	} {
		if tt.got != tt.want {
			t.Errorf("%s\nwant %s", tt.got, tt.want)
		}
	}
	if all := many(8, kmsg.OffsetFetchRequestGroup{Group: "g", MemberEpoch: -1}); !strings.Contains(all, "t-1=7/3") || !strings.Contains(all, "u-0=7") {
		t.Error(all)
	}
	for version, want := range map[int16]int{1: 0, 2: 2, 7: 2} { // null asks for all, but in version 1
		req := edited(kmsg.NewPtrOffsetFetchRequest(), func(r *kmsg.OffsetFetchRequest) { r.Version, r.Group = version, "g" })
		if got := s.ask(req).(*kmsg.OffsetFetchResponse); len(got.Topics) != want || got.ErrorCode != 0 {
			t.Errorf("v%d: %+v", version, got)
		}
	}
}

// cutOff is a session whose replica knows nothing, and cannot find out more.
type cutOff struct{ topics.Session }

func (cutOff) Ask(_ context.Context, f metadata.Freshness, read func(state.Reader)) error {
	if f.IsFresh() {
		return metadata.ErrUnavailable
	}
	read(state.New().Reader())
	return nil
}

// TestNoAgentThatIsCutOffSaysThatNothingWasCommitted: a topic that an agent does not know, and cannot look up freshly, is perhaps one for
// which there are offsets (R7; seed 911 of the simulation).
func TestNoAgentThatIsCutOffSaysThatNothingWasCommitted(t *testing.T) {
	w := newWorld(t)
	up := w.agent(metadata.Identity{Session: state.UUID{1}, NodeID: -1, Agent: "up"}, nil)
	id := up.create("t", 1)
	up.table([]ask{{"commit", commitOne(9, "g", "t", 0), "ok"}})
	behind := w.agent(metadata.Identity{Session: state.UUID{2}, NodeID: -1, Agent: "behind"}, func(d *Deps) {
		var err error
		d.Catalog, err = topics.New(topics.Default(), cutOff{d.Session})
		must(t, err)
	})
	for version := int16(1); version <= 10; version++ {
		req := edited(kmsg.NewPtrOffsetFetchRequest(), func(r *kmsg.OffsetFetchRequest) {
			r.Version, r.Group = version, "g"
			r.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
			r.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{
				{Topic: "t", TopicID: id, Partitions: []int32{0}},
			}}}
		})
		for _, c := range []struct {
			who      *server
			want     string
			tellsAll bool
		}{{up, "ok", true}, {behind, "NOT_COORDINATOR", version == 1}} {
			resp := c.who.ask(req).(*kmsg.OffsetFetchResponse)
			got, partitions := resp.ErrorCode, 0
			for _, g := range resp.Groups {
				got = g.ErrorCode
				for _, topic := range g.Topics {
					partitions += len(topic.Partitions)
				}
			}
			for _, topic := range resp.Topics {
				for _, p := range topic.Partitions {
					if partitions++; version == 1 { // which has no other place for an error
						got = p.ErrorCode
					}
				}
			}
			if errorName(got) != c.want || (partitions == 1) != c.tellsAll {
				t.Errorf("version %d: %s with %d partitions, want %s", version, errorName(got), partitions, c.want)
			}
		}
	}
}

func TestFindCoordinator(t *testing.T) {
	s := newServer(t)
	for version := int16(0); version <= 6; version++ {
		for kind, want := range map[int8]string{0: "ok", 1: "UNSUPPORTED_VERSION", 2: "UNSUPPORTED_VERSION", 9: invalid} {
			if version == 0 {
				want = "ok" // which has no type
			}
			req := edited(kmsg.NewPtrFindCoordinatorRequest(), func(r *kmsg.FindCoordinatorRequest) {
				r.Version, r.CoordinatorKey, r.CoordinatorKeys, r.CoordinatorType = version, "", []string{"a", "", "a"}, kind
			})
			got := s.ask(req).(*kmsg.FindCoordinatorResponse)
			list := got.Coordinators
			if version < 4 {
				list = []kmsg.FindCoordinatorResponseCoordinator{{ErrorCode: got.ErrorCode, ErrorMessage: got.ErrorMessage, NodeID: got.NodeID, Host: got.Host, Port: got.Port}}
			} else if len(list) != 3 {
				t.Fatalf("v%d: %+v", version, got)
			}
			for _, c := range list {
				if errorName(c.ErrorCode) != want {
					t.Errorf("v%d type %d: %+v", version, kind, c)
				}
				if good := want == "ok"; good && (c.Host != "127.0.0.1" || c.Port != 9092) || !good && (c.NodeID != -1 || c.Host != "" || c.Port != -1 || *c.ErrorMessage == "") {
					t.Errorf("v%d type %d: %+v", version, kind, c)
				}
				if none := map[bool]string{true: "NONE", false: ""}[version < 4]; version > 0 && want == "ok" && *c.ErrorMessage != none {
					t.Errorf("v%d: message %q", version, *c.ErrorMessage)
				}
			}
		}
	}
}

func TestProducerIDsAreNeverGivenTwice(t *testing.T) {
	s := newServer(t)
	initialise := func(change func(*kmsg.InitProducerIDRequest)) *kmsg.InitProducerIDResponse {
		return s.ask(edited(kmsg.NewPtrInitProducerIDRequest(), func(r *kmsg.InitProducerIDRequest) {
			r.Version, r.ProducerID, r.ProducerEpoch = 5, -1, -1
			change(r)
		})).(*kmsg.InitProducerIDResponse)
	}
	seen := map[int64]bool{}
	for i := range idBlock + 10 {
		got := initialise(func(r *kmsg.InitProducerIDRequest) {
			if i%3 == 0 {
				r.ProducerID, r.ProducerEpoch = 1, 4 // a new id all the same
			}
		})
		if got.ErrorCode != 0 || got.ProducerEpoch != 0 || seen[got.ProducerID] {
			t.Fatalf("%d: %+v", i, got)
		}
		seen[got.ProducerID] = true
	}
	for name, tt := range map[string]struct {
		change func(*kmsg.InitProducerIDRequest)
		want   string
	}{
		"empty transactional id": {func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = ptr("") }, invalid},
		"transactional id":       {func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = ptr("x") }, "UNSUPPORTED_VERSION"},
		"id without epoch":       {func(r *kmsg.InitProducerIDRequest) { r.ProducerID = 4 }, invalid},
		"epoch without id":       {func(r *kmsg.InitProducerIDRequest) { r.ProducerEpoch = 4 }, invalid},
	} {
		if got := initialise(tt.change); errorsOf(got) != tt.want || got.ProducerID != -1 || got.ProducerEpoch != -1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestApiVersionsAndCluster(t *testing.T) {
	s := newServer(t)
	named := func(name, version string) kmsg.Request {
		return edited(kmsg.NewPtrApiVersionsRequest(), func(r *kmsg.ApiVersionsRequest) {
			r.Version, r.ClientSoftwareName, r.ClientSoftwareVersion = 3, name, version
		})
	}
	cluster := func(endpoint int8) kmsg.Request {
		return edited(kmsg.NewPtrDescribeClusterRequest(), func(r *kmsg.DescribeClusterRequest) { r.Version, r.EndpointType = 2, endpoint })
	}
	s.table([]ask{
		{"good", named("a.b-c", "1.0"), "ok"},
		{"no name", named("", "1"), invalid},
		{"space", named("a b", "1"), invalid},
		{"slash", named("a", "1/2"), invalid},
		{"leading dash", named("-a", "1"), invalid},
		{"brokers", cluster(1), "ok"},
		{"controllers", cluster(2), "MISMATCHED_ENDPOINT_TYPE"},
		{"unknown endpoint", cluster(9), "UNSUPPORTED_ENDPOINT_TYPE"},
	})
	got := s.ask(named("a", "1")).(*kmsg.ApiVersionsResponse)
	if len(got.ApiKeys) != 24 || got.ApiKeys[0].MinVersion != 0 || got.ApiKeys[0].MaxVersion != 13 || len(got.SupportedFeatures) != 0 || got.FinalizedFeaturesEpoch != -1 {
		t.Errorf("%+v", got)
	}
}

// TestMetricsOfTheDataPathCount, each under its documented name.
func TestMetricsOfTheDataPathCount(t *testing.T) {
	s := newServer(t)
	s.create("t", 1)
	s.produce("t", 0, records(t, batch.Options{}, "0", "1"))
	s.produce("t", 0, nil)
	s.ask(fetchOne(12, "t", 0, 0))
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range families {
		there[f.GetName()] = true
	}
	for _, name := range []string{
		"leat_produce_records_total", "leat_produce_bytes_total", "leat_produce_refused_batches_total", "leat_produce_objects_total",
		"leat_produce_upload_errors_total", "leat_produce_upload_seconds", "leat_produce_commit_seconds", "leat_produce_ack_seconds",
		"leat_produce_object_bytes", "leat_produce_buffered_bytes", "leat_fetch_bytes_total", "leat_fetch_seconds", "leat_fetch_failures_total",
	} {
		if !there[name] {
			t.Errorf("no %s", name)
		}
	}
	for _, f := range families {
		value := f.GetMetric()[0].GetCounter().GetValue()
		switch f.GetName() {
		case "leat_produce_records_total":
			if value != 2 {
				t.Errorf("%v records", value)
			}
		case "leat_produce_refused_batches_total", "leat_produce_objects_total":
			if value != 1 {
				t.Errorf("%s: %v", f.GetName(), value)
			}
		case "leat_fetch_bytes_total":
			if value < 60 {
				t.Errorf("%v bytes fetched", value)
			}
		}
	}
}
