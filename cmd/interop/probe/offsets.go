package main

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetFetch asks for one group's offsets, at any version. No topic means all topics.
func (p *probe) offsetFetch(version int16, group, topic string, partitions ...int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = version, group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = group, -1
	if topic != "" {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = topic, partitions
		req.Topics = append(req.Topics, t)
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.TopicID, gt.Partitions = topic, p.topics[topic], partitions
		g.Topics = append(g.Topics, gt)
	}
	req.Groups = append(req.Groups, g)
	return req
}

func probeOffsets(p *probe) error {
	if err := p.topic("committed", 2); err != nil {
		return err
	}
	if err := p.awaitGroups(); err != nil {
		return err
	}
	for v := int16(2); v <= 9; v++ {
		p.ask("simple consumer, new group", commitOffset(v, fmt.Sprintf("simple%d", v), "", -1, "committed", 0, 5))
	}
	byID := func(group, member string, generation int32, id [16]byte) *kmsg.OffsetCommitRequest {
		req := commitOffset(10, group, member, generation, "", 0, 6)
		req.Topics[0].TopicID = id
		return req
	}
	p.ask("by topic id", byID("simple10", "", -1, p.topics["committed"]))
	p.ask("by unknown topic id", byID("simple10", "", -1, [16]byte{3}))
	p.ask("by topic id of zeros", byID("simple10", "", -1, [16]byte{}))
	p.ask("unknown topic", commitOffset(9, "simple", "", -1, "nowhere", 0, 5))
	p.ask("unknown partition", commitOffset(9, "simple", "", -1, "committed", 9, 5))
	p.ask("negative offset -1", commitOffset(9, "simple", "", -1, "committed", 0, -1))
	p.ask("negative offset -5", commitOffset(9, "simple", "", -1, "committed", 0, -5))
	p.ask("offset beyond the end", commitOffset(9, "simple", "", -1, "committed", 0, 1<<60))
	for _, v := range []int16{2, 8, 9} {
		p.ask("generation 3, group does not exist", commitOffset(v, "unheard", "", 3, "committed", 0, 5))
	}
	p.ask("member id and generation, group does not exist", commitOffset(9, "unheard", "m", 3, "committed", 0, 5))
	p.ask("member id without generation, group does not exist", commitOffset(9, "made", "m", -1, "committed", 0, 5))
	p.ask("empty group id", commitOffset(9, "", "", -1, "committed", 0, 5))
	p.ask("group id of 32 KiB", commitOffset(9, strings.Repeat("a", 32<<10), "", -1, "committed", 0, 5))
	for _, n := range []int{4096, 4097} {
		req := commitOffset(9, "simple", "", -1, "committed", 0, 5)
		req.Topics[0].Partitions[0].Metadata = ptr(strings.Repeat("m", n))
		p.ask(fmt.Sprintf("metadata of %d bytes", n), req)
	}
	null := commitOffset(9, "simple", "", -1, "committed", 1, 5)
	null.Topics[0].Partitions[0].Metadata = nil
	null.Topics[0].Partitions[0].LeaderEpoch = 7
	p.ask("null metadata, leader epoch 7", null)
	none := commitOffset(9, "simple", "", -1, "committed", 1, 5)
	none.Topics = nil
	p.ask("no topics", none)
	for v := int16(1); v <= 10; v++ {
		p.ask("committed and not", p.offsetFetch(v, "simple", "committed", 0, 1, 7))
	}
	for v := int16(1); v <= 10; v++ {
		p.ask("all topics (null)", p.offsetFetch(v, "simple2", ""))
	}
	fetchEdges(p)
	return commitAsMember(p)
}

func fetchEdges(p *probe) {
	p.ask("unknown group", p.offsetFetch(7, "unheard", "committed", 0))
	p.ask("unknown group", p.offsetFetch(9, "unheard", "committed", 0))
	p.ask("unknown group, all topics", p.offsetFetch(9, "unheard", ""))
	p.ask("unknown topic", p.offsetFetch(9, "simple", "nowhere", 0))
	p.ask("unknown topic id", p.offsetFetch(10, "simple", "nowhere", 0))
	p.ask("empty group id", p.offsetFetch(9, "", "committed", 0))
	stable := p.offsetFetch(9, "simple", "committed", 0)
	stable.RequireStable = true
	p.ask("require stable", stable)
	empty := p.offsetFetch(9, "simple", "")
	empty.Groups[0].Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	p.ask("empty list of topics", empty)
	two := p.offsetFetch(9, "simple2", "committed", 0)
	two.Groups = append(two.Groups, p.offsetFetch(9, "unheard", "committed", 0).Groups...)
	two.Groups = append(two.Groups, two.Groups[0])
	p.ask("three groups, one twice", two)
	member := p.offsetFetch(9, "simple2", "committed", 0)
	member.Groups[0].MemberID, member.Groups[0].MemberEpoch = ptr("m"), 4
	p.ask("member id and epoch", member)
	del := kmsg.NewPtrOffsetDeleteRequest()
	del.Group = "simple2"
	t := kmsg.NewOffsetDeleteRequestTopic()
	t.Topic = "committed"
	t.Partitions = append(t.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: 0})
	del.Topics = append(del.Topics, t)
	p.ask("offset delete", del)
}

func commitAsMember(p *probe) error {
	resp, err := p.quiet(join(3, "live", "", nil))
	if err != nil {
		return err
	}
	me, gen := resp.(*kmsg.JoinGroupResponse).MemberID, resp.(*kmsg.JoinGroupResponse).Generation
	p.ask("member commits before its sync", commitOffset(9, "live", me, gen, "committed", 0, 5))
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 3, "live", me, gen
	if _, err := p.quiet(sync); err != nil {
		return err
	}
	p.ask("member commits", commitOffset(9, "live", me, gen, "committed", 0, 5))
	p.ask("wrong generation", commitOffset(9, "live", me, gen+1, "committed", 0, 5))
	p.ask("unknown member", commitOffset(9, "live", "nobody", gen, "committed", 0, 5))
	p.ask("simple consumer while the group has members", commitOffset(9, "live", "", -1, "committed", 0, 5))
	p.ask("generation -1 with the member id", commitOffset(9, "live", me, -1, "committed", 0, 5))
	instance := commitOffset(9, "live", me, gen, "committed", 0, 5)
	instance.InstanceID = ptr("who")
	p.ask("unknown instance", instance)
	return nil
}

func probeGroups(p *probe) error {
	if err := p.awaitGroups(); err != nil {
		return err
	}
	if err := p.topic("admin", 1); err != nil {
		return err
	}
	if _, err := p.quiet(commitOffset(9, "only-offsets", "", -1, "admin", 0, 5)); err != nil {
		return err
	}
	resp, err := p.quiet(join(3, "with-member", "", nil))
	if err != nil {
		return err
	}
	joined := resp.(*kmsg.JoinGroupResponse)
	for v := int16(0); v <= 6; v++ {
		describeGroups(p, "unknown, offsets only, between join and sync", v, "unheard", "only-offsets", "with-member")
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 3, "with-member", joined.MemberID, joined.Generation
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = joined.MemberID, []byte("mine")
	sync.GroupAssignment = append(sync.GroupAssignment, a)
	if _, err := p.quiet(sync); err != nil {
		return err
	}
	describeGroups(p, "stable", 6, "with-member")
	describeGroups(p, "stable", 2, "with-member")
	describeGroups(p, "empty id, the same twice", 6, "", "with-member", "with-member")
	describeGroups(p, "none", 6)
	ops := kmsg.NewPtrDescribeGroupsRequest()
	ops.Version, ops.Groups, ops.IncludeAuthorizedOperations = 5, []string{"with-member", "unheard"}, true
	p.ask("authorized operations", ops)
	list := func(version int16, states, types []string) {
		req := kmsg.NewPtrListGroupsRequest()
		req.Version, req.StatesFilter, req.TypesFilter = version, states, types
		p.ask(fmt.Sprintf("states %v types %v", states, types), req)
	}
	for v := int16(0); v <= 5; v++ {
		list(v, nil, nil)
	}
	list(5, []string{"Stable"}, nil)
	list(5, []string{"stable"}, nil)
	list(5, []string{"Empty", "Dead"}, nil)
	list(5, []string{"NoSuchState"}, nil)
	list(5, nil, []string{"classic"})
	list(5, nil, []string{"Classic"})
	list(5, nil, []string{"consumer"})
	list(5, nil, []string{"nosuch"})
	del := func(version int16, groups ...string) {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Version, req.Groups = version, groups
		p.ask(fmt.Sprintf("delete %q", groups), req)
	}
	del(2, "unheard")
	del(2, "no such group", "")
	del(2, "with-member")
	del(2, "only-offsets", "only-offsets")
	del(0, "only-offsets")
	p.ask("offsets of the deleted group", p.offsetFetch(9, "only-offsets", "admin", 0))
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.MemberID = 2, "with-member", joined.MemberID
	p.ask("the member leaves", leave)
	describeGroups(p, "after the last member left, no offsets", 6, "with-member")
	list(5, nil, nil)
	del(2, "with-member")
	return nil
}

func describeGroups(p *probe, label string, version int16, groups ...string) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = version, groups
	p.ask(label, req)
}
