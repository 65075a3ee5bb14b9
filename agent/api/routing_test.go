package api

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// other is an agent of which there is nothing but its session.
func other(node int32, zone string, listeners ...string) state.OpenSession {
	o := state.OpenSession{
		Session: state.UUID{2, byte(node)}, NodeID: node, Agent: fmt.Sprint("other-", node), Zone: zone, Peer: fmt.Sprintf("peer%d:1", node), Level: state.Level,
	}
	for _, l := range listeners {
		o.Listeners = append(o.Listeners, state.Listener{Name: l, Address: fmt.Sprintf("%s%d:90", l, node)})
	}
	return o
}

// meets commits commands about sessions, and waits until the agent has seen each.
func (s *server) meets(ops ...state.Op) {
	s.t.Helper()
	for _, op := range ops {
		changed := s.Brokers.Changed()
		results, err := s.Session.Service().Do(s.t.Context(), state.Command{Op: op})
		must(s.t, err)
		if results[0].Code != state.CodeOK {
			s.t.Fatalf("%+v: code %d", op, results[0].Code)
		}
		select {
		case <-changed:
		case <-time.After(2 * time.Minute):
			s.t.Fatalf("%+v is not seen", op)
		}
	}
}

// sees waits until the agent's view has so many live agents.
func (s *server) sees(live int) {
	s.t.Helper()
	for {
		changed := s.Brokers.Changed()
		if len(s.Brokers.View().All()) == live {
			return
		}
		select {
		case <-changed:
		case <-time.After(2 * time.Minute):
			s.t.Fatalf("%d live agents, not %d", len(s.Brokers.View().All()), live)
		}
	}
}

// crowd is an agent of zone z1 and broker id 5 among others: 11 and 12 of z1, 21 and 22 of z2, 31 of z3; clients of the default
// listener cannot reach 41, and 51 is leaving.
func crowd(t *testing.T, edit func(*Deps)) *server {
	t.Helper()
	s := newWorld(t).agent(metadata.Identity{Session: state.UUID{1}, NodeID: 5, Agent: "agent", Zone: "z1"}, edit)
	s.meets(
		other(11, "z1", "default"), other(12, "z1", "default", "outside"), other(21, "z2", "default"), other(22, "z2", "default", "outside"),
		other(31, "z3", "default"), other(41, "z1", "outside"), other(51, "z2", "default"), state.LeaveSession{Session: other(51, "").Session},
	)
	return s
}

var zoneOf = map[int32]string{5: "z1", 11: "z1", 12: "z1", 21: "z2", 22: "z2", 31: "z3", 41: "z1"}

func metadataBrokers(m *kmsg.MetadataResponse) (list []string, nodes []int32) {
	for _, b := range m.Brokers {
		list, nodes = append(list, fmt.Sprintf("%d %s:%d %s", b.NodeID, b.Host, b.Port, text(b.Rack))), append(nodes, b.NodeID)
	}
	return list, nodes
}

func TestMetadataNamesTheAgentsThatAClientCanReach(t *testing.T) {
	s := crowd(t, nil)
	s.create("t", 60)
	for listener, want := range map[string][]string{
		"default": {"5 127.0.0.1:9092 z1", "11 default11:90 z1", "12 default12:90 z1", "21 default21:90 z2", "22 default22:90 z2", "31 default31:90 z3"},
		"outside": {"5 127.0.0.1:9092 z1", "12 outside12:90 z1", "22 outside22:90 z2", "41 outside41:90 z1"},
		"inside":  {"5 127.0.0.1:9092 z1"},
	} {
		s.client.Listener = listener
		got := s.ask(describe(12, "t")).(*kmsg.MetadataResponse)
		list, _ := metadataBrokers(got)
		if !reflect.DeepEqual(list, want) || got.ControllerID != 5 {
			t.Errorf("%s: %q, controller %d", listener, list, got.ControllerID)
		}
		cluster := s.ask(edited(kmsg.NewPtrDescribeClusterRequest(), func(r *kmsg.DescribeClusterRequest) { r.Version, r.EndpointType = 2, 1 })).(*kmsg.DescribeClusterResponse)
		list = nil
		for _, b := range cluster.Brokers {
			list = append(list, fmt.Sprintf("%d %s:%d %s", b.NodeID, b.Host, b.Port, text(b.Rack)))
		}
		if !reflect.DeepEqual(list, want) || cluster.ControllerID != 5 {
			t.Errorf("%s: DescribeCluster: %q, controller %d", listener, list, cluster.ControllerID)
		}
	}
}

// TestNoBrokerIsNamedThatIsNotListed looks at every version, listener and zone.
func TestNoBrokerIsNamedThatIsNotListed(t *testing.T) {
	s := crowd(t, nil)
	s.create("t", 40)
	for version := int16(0); version <= 13; version++ {
		for _, s.client.Listener = range []string{"default", "outside", "inside"} {
			for _, s.client.Zone = range []string{"z1", "z2", "z3", "", "z9"} {
				got := s.ask(describe(version, "t")).(*kmsg.MetadataResponse)
				_, listed := metadataBrokers(got)
				named := []int32{got.ControllerID}
				if version == 0 {
					named = nil
				}
				for _, p := range got.Topics[0].Partitions {
					named = append(append(append(named, p.Leader), p.Replicas...), p.ISR...)
				}
				for _, node := range named {
					if !slices.Contains(listed, node) {
						t.Fatalf("v%d %s %q: %d is not in %v", version, s.client.Listener, s.client.Zone, node, listed)
					}
				}
			}
		}
	}
}

func TestLeadersAndReplicasByTheClientsZone(t *testing.T) {
	s := crowd(t, nil)
	s.create("t", 60)
	for _, zone := range []string{"z1", "z2", "z3", "", "z9"} {
		s.client.Zone = zone
		leaders := map[int32]int{}
		pages := s.ask(edited(kmsg.NewPtrDescribeTopicPartitionsRequest(), func(r *kmsg.DescribeTopicPartitionsRequest) {
			r.ResponsePartitionLimit, r.Topics = 100, []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}}
		})).(*kmsg.DescribeTopicPartitionsResponse).Topics[0].Partitions
		for i, p := range s.ask(describe(12, "t")).(*kmsg.MetadataResponse).Topics[0].Partitions {
			leaders[p.Leader]++
			zones := map[string]bool{}
			for _, node := range p.Replicas {
				zones[zoneOf[node]] = true
			}
			if s.Brokers.View().Serves(zone) && zoneOf[p.Leader] != zone || p.Replicas[0] != p.Leader || len(p.Replicas) != 3 || len(zones) != 3 || !slices.Equal(p.ISR, p.Replicas) {
				t.Fatalf("%q: %+v", zone, p)
			}
			if d := pages[i]; d.LeaderID != p.Leader || !slices.Equal(d.Replicas, p.Replicas) || !slices.Equal(d.ISR, p.ISR) {
				t.Fatalf("%q: %+v and %+v", zone, d, p)
			}
		}
		if want := map[string]int{"z1": 3, "z2": 2, "z3": 1, "": 6, "z9": 6}[zone]; len(leaders) != want {
			t.Errorf("%q: leaders %v", zone, leaders)
		}
	}
}

func TestEveryAgentNamesTheSameCoordinator(t *testing.T) {
	s := crowd(t, nil)
	view := s.Brokers.View()
	for i := range 50 {
		group := fmt.Sprint("group-", i)
		want, _ := view.Coordinator(group)
		for version := int16(0); version <= 6; version++ {
			resp := s.ask(edited(kmsg.NewPtrFindCoordinatorRequest(), func(r *kmsg.FindCoordinatorRequest) {
				r.Version, r.CoordinatorKey, r.CoordinatorKeys = version, group, []string{"x", group}
			})).(*kmsg.FindCoordinatorResponse)
			node, host, err := resp.NodeID, resp.Host, errorName(resp.ErrorCode)
			if version >= 4 {
				c := resp.Coordinators[1]
				node, host, err = c.NodeID, c.Host, errorName(c.ErrorCode)
			}
			got, wanted := fmt.Sprint(node, host, err), fmt.Sprint(want.NodeID, fmt.Sprint("default", want.NodeID), "ok")
			switch want.NodeID {
			case 5:
				wanted = "5127.0.0.1ok"
			case 41: // the client cannot reach it
				wanted = "-1COORDINATOR_NOT_AVAILABLE"
			}
			if got != wanted {
				t.Errorf("v%d %s: %s, not %s", version, group, got, wanted)
			}
		}
	}
}

func TestBehindOneAddressThereIsOneBroker(t *testing.T) {
	s := crowd(t, func(d *Deps) {
		d.Shared = func(listener string) bool { return listener == "default" }
		d.Advertise = func(string) string { return "balancer:9092" }
	})
	s.create("t", 3)
	got := s.ask(describe(12, "t")).(*kmsg.MetadataResponse)
	if list, _ := metadataBrokers(got); !reflect.DeepEqual(list, []string{"0 balancer:9092 "}) || got.ControllerID != 0 || got.Brokers[0].Rack != nil {
		t.Errorf("%q, controller %d", list, got.ControllerID)
	}
	for _, p := range got.Topics[0].Partitions {
		if p.Leader != 0 || !slices.Equal(p.Replicas, []int32{0}) || !slices.Equal(p.ISR, []int32{0}) {
			t.Errorf("%+v", p)
		}
	}
	cluster := s.ask(edited(kmsg.NewPtrDescribeClusterRequest(), func(r *kmsg.DescribeClusterRequest) { r.Version, r.EndpointType = 2, 1 })).(*kmsg.DescribeClusterResponse)
	if len(cluster.Brokers) != 1 || cluster.Brokers[0].NodeID != 0 || cluster.Brokers[0].Host != "balancer" || cluster.ControllerID != 0 {
		t.Errorf("%+v", cluster)
	}
	for i := range 20 {
		c := s.ask(edited(kmsg.NewPtrFindCoordinatorRequest(), func(r *kmsg.FindCoordinatorRequest) {
			r.Version, r.CoordinatorKeys = 6, []string{fmt.Sprint("g", i)}
		})).(*kmsg.FindCoordinatorResponse).Coordinators[0]
		if c.NodeID != 0 || c.Host != "balancer" || c.Port != 9092 || c.ErrorCode != 0 {
			t.Errorf("%+v", c)
		}
	}
	const broker = kmsg.ConfigResourceTypeBroker
	s.table([]ask{
		{"the one broker", describeConfig(4, broker, "0"), "ok"},
		{"this agent by its own id", describeConfig(4, broker, "5"), invalid},
	})
	for p := range int32(3) { // whoever else would serve it better
		if got := s.produce("t", p, records(t, batch.Options{}, "v")); got.ErrorCode != 0 {
			t.Error(errorName(got.ErrorCode))
		}
		got := s.ask(edited(fetchOne(12, "t", p, 0), func(r *kmsg.FetchRequest) { r.Rack = "z3" })).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if got.ErrorCode != 0 || got.PreferredReadReplica != -1 || len(got.RecordBatches) == 0 {
			t.Errorf("%+v", got)
		}
	}
	s.meets(state.LeaveSession{Session: state.UUID{1}})
	if got := s.produce("t", 0, records(t, batch.Options{}, "v")); got.ErrorCode != 0 {
		t.Error(errorName(got.ErrorCode))
	}
}

func TestEveryGroupIsListedByOneAgent(t *testing.T) {
	w := newWorld(t)
	first := w.agent(metadata.Identity{Session: state.UUID{1}, NodeID: 1, Agent: "first"}, nil)
	second := w.agent(metadata.Identity{Session: state.UUID{2}, NodeID: 2, Agent: "second"}, nil)
	shared := w.agent(metadata.Identity{Session: state.UUID{4}, NodeID: 4, Agent: "third"}, func(d *Deps) { d.Shared = func(string) bool { return true } })
	must(t, shared.Session.Close(t.Context())) // it can still be asked, but is nobody's coordinator
	first.sees(2)
	second.sees(2)
	first.create("t", 1)
	for i := range 30 {
		first.ask(commitOne(7, fmt.Sprint("g", i), "t", 0))
	}
	listed := func(s *server) (groups []string) {
		for _, g := range s.ask(edited(kmsg.NewPtrListGroupsRequest(), func(r *kmsg.ListGroupsRequest) { r.Version = 5 })).(*kmsg.ListGroupsResponse).Groups {
			groups = append(groups, g.Group)
		}
		return groups
	}
	a, b := listed(first), listed(second)
	both := append(slices.Clone(a), b...)
	slices.Sort(both)
	if len(a) < 5 || len(b) < 5 || len(slices.Compact(both)) != 30 || len(both) != 30 {
		t.Errorf("%v and %v", a, b)
	}
	if all := listed(shared); len(all) != 30 {
		t.Errorf("behind one address: %v", all)
	}
}

// TestR7AnAgentThatIsNotInTheViewNamesOthersOrItselfAlone: its session is being opened, or was closed by others.
func TestR7AnAgentThatIsNotInTheViewNamesOthersOrItselfAlone(t *testing.T) {
	s := newWorld(t).agent(metadata.Identity{Session: state.UUID{1}, NodeID: 5, Agent: "agent", Zone: "z1"}, nil)
	s.create("t", 1)
	s.meets(other(11, "z2", "default"), state.CloseSession{Session: state.UUID{1}})
	got := s.ask(describe(12, "t")).(*kmsg.MetadataResponse)
	if list, _ := metadataBrokers(got); !reflect.DeepEqual(list, []string{"11 default11:90 z2"}) || got.ControllerID != 11 || got.Topics[0].Partitions[0].Leader != 11 {
		t.Errorf("%+v", got)
	}
	if p := s.produce("t", 0, records(t, batch.Options{}, "v")); errorName(p.ErrorCode) != "NOT_LEADER_FOR_PARTITION" {
		t.Errorf("produce: %s", errorName(p.ErrorCode))
	}
	s.meets(state.CloseSession{Session: other(11, "").Session})
	got = s.ask(describe(12, "t")).(*kmsg.MetadataResponse)
	if list, _ := metadataBrokers(got); !reflect.DeepEqual(list, []string{"5 127.0.0.1:9092 z1"}) || got.ControllerID != 5 || got.Topics[0].Partitions[0].Leader != 5 {
		t.Errorf("%+v", got)
	}
}

// pointed is the preferred read replica, -1 if there is none, and the records of a fetch of partition 0 at an offset.
func (s *server) pointed(version int16, rack string, offset int64) (preferred int32, p kmsg.FetchResponseTopicPartition) {
	s.t.Helper()
	s.client.Conn++
	req := edited(fetchOne(version, "t", 0, offset), func(r *kmsg.FetchRequest) { r.Rack, r.MaxWaitMillis, r.MinBytes = rack, 60_000, 1 })
	p = s.ask(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	return p.PreferredReadReplica, p
}

func TestAConsumerIsPointedToTheReplicaOfItsRack(t *testing.T) {
	s := crowd(t, func(d *Deps) { d.Nudges = NewNudges(settledNudges(), nil) })
	s.create("t", 1)
	s.client.ForwardedBy = "none" // to produce where nobody is nudged
	s.produce("t", 0, records(t, batch.Options{}, "0", "1"))
	s.client.ForwardedBy = ""
	replicas := s.ask(describe(12, "t")).(*kmsg.MetadataResponse).Topics[0].Partitions[0].Replicas
	for _, rack := range []string{"z2", "z3"} {
		for version := int16(11); version <= 12; version++ {
			node, p := s.pointed(version, rack, 2) // would wait for a minute
			if zoneOf[node] != rack || !slices.Contains(replicas, node) || p.ErrorCode != 0 || len(p.RecordBatches) > 0 || p.HighWatermark != 2 || p.LogStartOffset != 0 || p.LastStableOffset != 2 {
				t.Errorf("v%d in %s: %+v of %v", version, rack, p, replicas)
			}
		}
	}
	if node, p := s.pointed(12, "z1", 0); node != -1 || p.ErrorCode != 0 || len(p.RecordBatches) == 0 {
		t.Errorf("in this agent's zone, whoever leads there: %+v", p)
	}
	s.create("many", 20)
	for partition := range int32(20) {
		p := s.ask(edited(fetchOne(12, "many", partition, 0), func(r *kmsg.FetchRequest) { r.Rack = "z1" })).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.PreferredReadReplica != -1 {
			t.Errorf("in this agent's zone, partition %d: %+v", partition, p)
		}
	}
	if node, p := s.pointed(12, "z2", 3); node != -1 || errorName(p.ErrorCode) != "OFFSET_OUT_OF_RANGE" {
		t.Errorf("beyond the end: %+v", p)
	}
	s.client.Zone = "z9"
	for _, rack := range []string{"", "z9"} {
		if node, p := s.pointed(12, rack, 0); node != -1 || p.ErrorCode != 0 || len(p.RecordBatches) == 0 {
			t.Errorf("no agents in rack %q nor the zone: %+v", rack, p)
		}
	}
	if node, _ := s.pointed(12, "z3", 0); node != 31 {
		t.Errorf("a rack with agents, a zone without: %d", node)
	}
	s.client.ForwardedBy = "other"
	if node, p := s.pointed(12, "z3", 0); node != -1 || len(p.RecordBatches) == 0 {
		t.Errorf("forwarded: %+v", p)
	}
	s.client.ForwardedBy = ""
	s.meets(state.LeaveSession{Session: state.UUID{1}})
	for _, rack := range []string{"z1", "z3"} {
		if _, p := s.pointed(12, rack, 0); errorName(p.ErrorCode) != "NOT_LEADER_FOR_PARTITION" {
			t.Errorf("leaving, in %s: %+v", rack, p)
		}
	}
}

func TestAConsumerThatCannotFollowIsServed(t *testing.T) {
	clock := time.Now().Add(time.Hour) // the others came into view by the real clock
	s := crowd(t, func(d *Deps) {
		cfg := settledNudges()
		cfg.Clock = func() time.Time { return clock }
		d.Nudges = NewNudges(cfg, nil)
	})
	s.client.ForwardedBy = "none"
	s.create("t", 1)
	s.produce("t", 0, records(t, batch.Options{}, "0", "1"))
	s.client.ForwardedBy = ""
	fetch := func() kmsg.FetchResponseTopicPartition {
		return s.ask(edited(fetchOne(12, "t", 0, 0), func(r *kmsg.FetchRequest) { r.Rack = "z3" })).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	}
	for i, step := range []struct {
		later time.Duration
		node  int32
	}{{0, 31}, {0, -1}, {pointInterval / 2, -1}, {pointInterval, 31}, {0, -1}, {pointInterval, 31}} {
		clock = clock.Add(step.later)
		if p := fetch(); p.PreferredReadReplica != step.node || (len(p.RecordBatches) == 0) != (step.node >= 0) {
			t.Errorf("step %d: %+v", i, p)
		}
	}
}

func TestAPointerIsListedWithinASession(t *testing.T) {
	s := crowd(t, func(d *Deps) { d.Nudges = NewNudges(settledNudges(), nil) })
	s.create("t", 1)
	s.client.Zone = "z9" // where nobody is nudged
	first := s.ask(edited(fetchOne(12, "t", 0, 0), func(r *kmsg.FetchRequest) { r.SessionEpoch = 0 })).(*kmsg.FetchResponse)
	next := s.ask(edited(fetchOne(12, "t", 0, 0), func(r *kmsg.FetchRequest) {
		r.SessionID, r.SessionEpoch, r.Topics, r.Rack = first.SessionID, 1, nil, "z3"
	})).(*kmsg.FetchResponse)
	if len(next.Topics) != 1 || next.Topics[0].Partitions[0].PreferredReadReplica != 31 {
		t.Errorf("%+v", next)
	}
}

// settledNudges has agents known to all as soon as they are seen.
func settledNudges() Config {
	c := Default()
	c.NudgeAfter = 0
	return c
}

func TestAGroupIsAnsweredByItsCoordinator(t *testing.T) {
	w := newWorld(t)
	w.spread = true
	first := w.agent(metadata.Identity{Session: state.UUID{1}, NodeID: 1, Agent: "first"}, nil)
	second := w.agent(metadata.Identity{Session: state.UUID{2}, NodeID: 2, Agent: "second"}, nil)
	first.sees(2)
	first.create("t", 1)
	group := ""
	for i := 0; group == ""; i++ {
		if b, _ := first.Brokers.View().Coordinator(fmt.Sprint("g", i)); b.NodeID == 2 {
			group = fmt.Sprint("g", i)
		}
	}
	const other = "NOT_COORDINATOR"
	described := edited(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Version, r.Groups = 6, []string{group} })
	first.table([]ask{
		{"join", join(9, group, ""), other},
		{"sync", syncWith(5, group, "m", 1), other},
		{"heartbeat", beat(4, group, "m", 1), other},
		{"leave", leave(2, group, "m"), other},
		{"describe", described, other},
		{"delete", edited(kmsg.NewPtrDeleteGroupsRequest(), func(r *kmsg.DeleteGroupsRequest) { r.Version, r.Groups = 2, []string{group} }), other},
		{"commit, which any agent may", commitOne(8, group, "t", 0), "ok"},
	})
	second.table([]ask{{"describe", described, "ok"}, {"join", join(9, group, ""), "MEMBER_ID_REQUIRED"}})
}
