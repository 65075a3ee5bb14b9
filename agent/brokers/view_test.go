package brokers

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/leat-stream/leat/metadata/state"
)

func agent(node int32, zone string) Broker {
	return Broker{
		NodeID: node, Session: state.UUID{1, byte(node >> 8), byte(node)}, Zone: zone, Peer: fmt.Sprintf("10.0.0.%d:9090", node),
		Listeners: []state.Listener{{Name: "default", Address: fmt.Sprintf("host%d:9092", node)}},
	}
}

// fleet is agents 1 to n, spread over three zones.
func fleet(n int32) []Broker {
	var all []Broker
	for i := range n {
		all = append(all, agent(i+1, fmt.Sprint("z", i%3)))
	}
	return all
}

func nodesOf(brokers []Broker) []int32 {
	nodes := []int32{}
	for _, b := range brokers {
		nodes = append(nodes, b.NodeID)
	}
	return nodes
}

// TestAllAgentsAndVersionsAgree holds the hash function: another answer here is another protocol between agents.
func TestAllAgentsAndVersionsAgree(t *testing.T) {
	topic := state.UUID{0xde, 0xad, 0xbe, 0xef, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for name, pair := range map[string][2]uint64{
		"agent 0":      {agentHash(0), 0x743983d9da327981},
		"agent 7":      {agentHash(7), 0x19989c5eecb91327},
		"partition 0":  {partitionKey(topic, 0), 0x5adf6ec1731774d1},
		"partition 99": {partitionKey(topic, 99), 0xf83989f3dffdffe},
		"group":        {groupKey("orders"), 0x95147c34497a8e7c},
		"chunk":        {chunkKey("data/ab/1-0", 3), 0xee5bbeada958b0df},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %#x, was %#x", name, pair[0], pair[1])
		}
	}
	v := NewView(state.UUID{}, fleet(9))
	var leaders, coordinators, owners []int32
	for i := range int32(12) {
		l, _ := v.Leader(topic, i, "z1")
		c, _ := v.Coordinator(fmt.Sprint("group-", i))
		o, _ := v.ChunkOwner("data/ab/1-0", int64(i), "z2")
		leaders, coordinators, owners = append(leaders, l.NodeID), append(coordinators, c.NodeID), append(owners, o.NodeID)
	}
	for name, pair := range map[string][2][]int32{
		"leaders":      {leaders, {8, 5, 5, 8, 8, 5, 2, 2, 5, 5, 2, 8}},
		"coordinators": {coordinators, {1, 2, 2, 1, 6, 2, 3, 4, 1, 7, 3, 9}},
		"owners":       {owners, {6, 3, 9, 9, 6, 6, 9, 6, 3, 3, 3, 9}},
		"replicas":     {v.Replicas(topic, 5, "z1"), {5, 7, 9}},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %v, were %v", name, pair[0], pair[1])
		}
	}
}

// answers is whom a view names for many keys, by key.
func answers(v *View) map[string]int32 {
	of := map[string]int32{}
	for i := range int32(2000) {
		topic := state.UUID{2, byte(i >> 8 & 3)}
		for _, zone := range []string{"z0", "z1", "z2", "nowhere"} {
			l, _ := v.Leader(topic, i, zone)
			of[fmt.Sprint("leader ", i, zone)] = l.NodeID
			if o, ok := v.ChunkOwner(fmt.Sprint("object", i), int64(i%5), zone); ok {
				of[fmt.Sprint("chunk ", i, zone)] = o.NodeID
			}
		}
		c, _ := v.Coordinator(fmt.Sprint("group", i))
		of[fmt.Sprint("group ", i)] = c.NodeID
	}
	return of
}

// TestOnlyWhatMustMoveMoves compares a fleet with and without one agent: nothing may change but what that agent has.
func TestOnlyWhatMustMoveMoves(t *testing.T) {
	for gone := range int32(8) {
		all := fleet(8)
		without := append(append([]Broker{}, all[:gone]...), all[gone+1:]...)
		with, less := answers(NewView(state.UUID{}, all)), answers(NewView(state.UUID{}, without))
		had := 0
		for key, before := range with {
			if before == gone+1 {
				had++
			}
			if after := less[key]; (after != before) != (before == gone+1) {
				t.Fatalf("%s: %d with agent %d, %d without", key, before, gone+1, after)
			}
		}
		if had < 1000 {
			t.Errorf("agent %d had only %d", gone+1, had)
		}
	}
}

func TestAnAgentThatComesBackGetsWhatItHad(t *testing.T) {
	all := fleet(6)
	before := answers(NewView(state.UUID{}, all))
	all[3].Session, all[3].Peer = state.UUID{9}, "10.0.0.99:1" // another process on another machine
	if !reflect.DeepEqual(before, answers(NewView(state.UUID{}, all))) {
		t.Error("a restart moved something")
	}
}

func TestOneAgentCoordinatesAGroup(t *testing.T) {
	all := fleet(5)
	for i := range 100 {
		var sure []int32
		for _, b := range all {
			if NewView(b.Session, all).Coordinates(fmt.Sprint("group", i)) {
				sure = append(sure, b.NodeID)
			}
		}
		if want, _ := NewView(state.UUID{}, all).Coordinator(fmt.Sprint("group", i)); !reflect.DeepEqual(sure, []int32{want.NodeID}) {
			t.Errorf("group %d: %v, not %d", i, sure, want.NodeID)
		}
	}
	if !(*Brokers)(nil).View().Coordinates("g") {
		t.Error("who is alone coordinates everything")
	}
}

func TestEveryAgentGetsItsShare(t *testing.T) {
	const keys, agents = 16_000, 8
	for name, pick := range map[string]func(v *View, i int32) Broker{
		"partitions of one topic": func(v *View, i int32) Broker { b, _ := v.Leader(state.UUID{7}, i, "nowhere"); return b },
		"topics of one partition": func(v *View, i int32) Broker {
			b, _ := v.Leader(state.UUID{byte(i), byte(i >> 8), 1}, 0, "nowhere")
			return b
		},
		"groups":             func(v *View, i int32) Broker { b, _ := v.Coordinator(fmt.Sprint("group-", i)); return b },
		"regions of objects": func(v *View, i int32) Broker { b, _ := v.ChunkOwner(fmt.Sprint("o", i/4), int64(i%4), "z"); return b },
	} {
		var all []Broker
		for i := range int32(agents) {
			all = append(all, agent(i, "z"))
		}
		v, count := NewView(state.UUID{}, all), map[int32]int{}
		for i := range int32(keys) {
			count[pick(v, i).NodeID]++
		}
		for node := range int32(agents) { // 2000 each on average, with a standard deviation of 42
			if count[node] < 1800 || count[node] > 2200 {
				t.Errorf("%s: %d has %d of %d", name, node, count[node], keys)
			}
		}
	}
}

func TestLeadersAreOfTheClientsZone(t *testing.T) {
	v := NewView(state.UUID{}, fleet(8))
	for p := range int32(500) {
		topic := state.UUID{3}
		for _, zone := range []string{"z0", "z1", "z2", "", "z9"} {
			leader, _ := v.Leader(topic, p, zone)
			if v.Serves(zone) && leader.Zone != zone {
				t.Fatalf("partition %d: leader of %s is in %s", p, zone, leader.Zone)
			}
			replicas := v.Replicas(topic, p, zone)
			if len(replicas) != 3 || replicas[0] != leader.NodeID {
				t.Fatalf("partition %d for %q: leader %d, replicas %v", p, zone, leader.NodeID, replicas)
			}
			seen := map[string]bool{}
			for _, node := range replicas {
				b, _ := v.Broker(node)
				if of, _ := v.Leader(topic, p, b.Zone); of.NodeID != node || seen[b.Zone] {
					t.Fatalf("partition %d for %q: replica %d does not lead zone %s, or is its second", p, zone, node, b.Zone)
				}
				seen[b.Zone] = true
			}
		}
	}
}

func TestTheLeavingAreSentNothingUnlessAllLeave(t *testing.T) {
	all := fleet(3)
	all[1].Leaving = true
	v := NewView(all[1].Session, all)
	if got := nodesOf(v.All()); !reflect.DeepEqual(got, []int32{1, 3}) {
		t.Errorf("live: %v", got)
	}
	for key, node := range answers(v) {
		if node == 2 {
			t.Fatalf("%s is with an agent that leaves", key)
		}
	}
	if _, ok := v.ChunkOwner("o", 0, "z1"); ok || v.Serves("z1") {
		t.Error("the zone of the only agent that leaves has no agent")
	}
	if b, ok := v.Broker(2); !ok || !b.Leaving {
		t.Error("it can still be reached")
	}
	if self, ok := v.Self(); !ok || self.NodeID != 2 || !self.Leaving {
		t.Errorf("self: %+v", self)
	}
	for i := range all {
		all[i].Leaving = true
	}
	if got := nodesOf(NewView(state.UUID{}, all).All()); !reflect.DeepEqual(got, []int32{1, 2, 3}) {
		t.Errorf("all leave: %v", got)
	}
}

func TestNobodyServesNothing(t *testing.T) {
	for name, v := range map[string]*View{"empty": NewView(state.UUID{1}, nil), "of nil": (*Brokers)(nil).View()} {
		_, leads := v.Leader(state.UUID{1}, 0, "")
		_, coordinates := v.Coordinator("g")
		_, owns := v.ChunkOwner("o", 0, "")
		_, self := v.Self()
		_, known := v.Broker(0)
		if leads || coordinates || owns || self || known || len(v.All()) > 0 || v.Replicas(state.UUID{1}, 0, "") != nil || v.Serves("") || v.On("x") == nil {
			t.Error(name)
		}
	}
}

func TestClientsHearOfAgentsThatTheyCanReachOnly(t *testing.T) {
	all := fleet(6)
	all[1].Listeners = append(all[1].Listeners, state.Listener{Name: "outside", Address: "b2.example:443"})
	all[4].Listeners = append(all[4].Listeners, state.Listener{Name: "outside", Address: "b5.example:443"})
	all[5].Listeners = append(all[5].Listeners, state.Listener{Name: "outside", Address: "no port"})
	all[2].Listeners = nil
	v := NewView(all[0].Session, all)
	for listener, want := range map[string][]int32{"default": {1, 2, 4, 5, 6}, "outside": {1, 2, 5}, "unheard of": {1}} {
		on := v.On(listener)
		if got := nodesOf(on.All()); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, not %v", listener, got, want)
		}
		for key, node := range answers(on) {
			if _, ok := on.Broker(node); !ok {
				t.Fatalf("%s: %s is with %d, which is not listed", listener, key, node)
			}
		}
	}
	if v.On("default").On("outside") != v.On("default") {
		t.Error("a view for a listener is for that one")
	}
	whole := NewView(all[0].Session, fleet(3))
	if whole.On("default") != whole {
		t.Error("nothing to leave out, nothing to copy")
	}
}

func TestEndpointOfAListener(t *testing.T) {
	b := Broker{Listeners: []state.Listener{
		{Name: "a", Address: "h:1"}, {Name: "v6", Address: "[::1]:65535"}, {Name: "no host", Address: ":9092"}, {Name: "zero", Address: "h:0"},
		{Name: "high", Address: "h:65536"}, {Name: "word", Address: "h:http"}, {Name: "empty"}, {Name: "a", Address: "second:1"},
	}}
	for name, want := range map[string]string{
		"a": "h 1 true", "v6": "::1 65535 true", "no host": " 0 false", "zero": "h 0 false", "high": "h 65535 false", "word": "h 0 false",
		"empty": " 0 false", "other": " 0 false",
	} {
		host, port, ok := b.Endpoint(name)
		if got := fmt.Sprint(host, " ", port, " ", ok); got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
}

func TestOfTwoSessionsOfOneNodeTheLaterCounts(t *testing.T) {
	old, young := agent(1, "z0"), agent(1, "z1")
	young.Session = state.UUID{9}
	v := NewView(young.Session, []Broker{old, young})
	if b, _ := v.Broker(1); len(v.All()) != 1 || b.Session != young.Session || v.Serves("z0") {
		t.Errorf("%+v", v.All())
	}
}

// BenchmarkReplicas is a Metadata answer of 10,000 partitions over 64 agents in three zones.
func BenchmarkReplicas(b *testing.B) {
	v := NewView(state.UUID{}, fleet(64))
	for b.Loop() {
		for p := range int32(10_000) {
			v.Replicas(state.UUID{1}, p, "z1")
		}
	}
}
