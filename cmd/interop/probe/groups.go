package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func probeCoordinator(p *probe) error {
	for v := int16(0); v <= 6; v++ {
		for _, kind := range []int8{0, 1, 2, 9} {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorType = v, kind
			req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g"}
			p.ask(fmt.Sprintf("type %d", kind), req)
		}
	}
	time.Sleep(2 * time.Second) // the internal topics are being made
	for v := int16(0); v <= 6; v++ {
		for _, kind := range []int8{0, 1} {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorType = v, kind
			req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g"}
			p.ask(fmt.Sprintf("type %d, later", kind), req)
		}
	}
	for _, kind := range []int8{0, 1} {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorType, req.CoordinatorKeys = 6, kind, []string{"a", "", "a", "b"}
		p.ask(fmt.Sprintf("type %d, several keys, one empty, one twice", kind), req)
	}
	for _, v := range []int16{3, 6} {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version = v
		p.ask("empty key / no keys", req)
	}
	share := kmsg.NewPtrFindCoordinatorRequest()
	share.Version, share.CoordinatorType, share.CoordinatorKeys = 6, 2, []string{"g:AAAAAAAAAAAAAAAAAAAAAA:0"}
	p.ask("type 2, share key", share)
	return nil
}

// awaitGroups waits until groups can be used at all.
func (p *probe) awaitGroups() error {
	for range 200 {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKey = 3, "warm"
		resp, err := p.quiet(req)
		if err != nil {
			return err
		}
		if resp.(*kmsg.FindCoordinatorResponse).ErrorCode == 0 {
			hb := kmsg.NewPtrHeartbeatRequest()
			hb.Version, hb.Group, hb.MemberID = 4, "warm", "x"
			got, err := p.quiet(hb)
			if err != nil {
				return err
			}
			if c := got.(*kmsg.HeartbeatResponse).ErrorCode; c != 14 && c != 15 && c != 16 {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("no coordinator")
}

func join(version int16, group, member string, change func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID = version, group, member
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = 30_000, 30_000, "consumer"
	proto := kmsg.NewJoinGroupRequestProtocol()
	proto.Name, proto.Metadata = "range", []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	req.Protocols = append(req.Protocols, proto)
	if change != nil {
		change(req)
	}
	return req
}

func (p *probe) timed(label string, req kmsg.Request) kmsg.Response {
	start := time.Now()
	resp := p.ask(label, req)
	p.say("  took about %v", time.Since(start).Round(500*time.Millisecond))
	return resp
}

func probeJoin(p *probe) error {
	if err := p.topic("joined", 1); err != nil {
		return err
	}
	if err := p.awaitGroups(); err != nil {
		return err
	}
	for v := int16(0); v <= 9; v++ {
		p.timed("first join, no member id", join(v, fmt.Sprintf("join%d", v), "", nil))
	}
	for _, v := range []int16{0, 9} {
		p.ask("empty group id", join(v, "", "", nil))
	}
	p.ask("unknown member id, group unknown", join(9, "fresh", "nobody", nil))
	p.ask("unknown member id, group known", join(9, "join3", "nobody", nil))
	p.ask("session timeout 1 s", join(9, "fresh", "", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1000 }))
	p.ask("session timeout 5999", join(3, "fresh", "", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 5999 }))
	p.ask("session timeout 1800001", join(3, "fresh", "", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1_800_001 }))
	p.ask("no protocols", join(3, "fresh", "", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }))
	p.ask("empty protocol type", join(3, "fresh", "", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }))
	p.ask("group id of 1 MiB", join(9, strings.Repeat("a", 1<<20), "", nil))
	p.ask("group id of 32767", join(5, strings.Repeat("a", 32767), "", nil))
	p.ask("group id with spaces and slash", join(9, "a / b", "", nil))
	p.ask("rebalance timeout -1", join(9, "neg", "", func(r *kmsg.JoinGroupRequest) { r.RebalanceTimeoutMillis = -1 }))
	p.ask("instance id without member id", join(9, "static", "", func(r *kmsg.JoinGroupRequest) { r.InstanceID = ptr("one") }))
	return joinedMember(p)
}

// joinedMember goes on from a member that has joined: its sync, heartbeats, a second member, leaving.
func joinedMember(p *probe) error {
	resp := p.ask("first member, v3 (no id needed)", join(3, "full", "", nil)).(*kmsg.JoinGroupResponse)
	me, gen := resp.MemberID, resp.Generation
	sync := func(version int16, member string, generation int32, change func(*kmsg.SyncGroupRequest)) *kmsg.SyncGroupRequest {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version, req.Group, req.MemberID, req.Generation = version, "full", member, generation
		if version >= 5 {
			req.ProtocolType, req.Protocol = ptr("consumer"), ptr("range")
		}
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = member, []byte("mine")
		req.GroupAssignment = append(req.GroupAssignment, a)
		if change != nil {
			change(req)
		}
		return req
	}
	beat := func(member string, generation int32) *kmsg.HeartbeatRequest {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.Generation = 4, "full", member, generation
		return req
	}
	p.ask("heartbeat before sync", beat(me, gen))
	p.ask("sync: wrong generation", sync(5, me, gen+1, nil))
	p.ask("sync: unknown member", sync(5, "nobody", gen, nil))
	p.ask("sync: other protocol", sync(5, me, gen, func(r *kmsg.SyncGroupRequest) { r.Protocol = ptr("sticky") }))
	p.ask("sync: other protocol type", sync(5, me, gen, func(r *kmsg.SyncGroupRequest) { r.ProtocolType = ptr("connect") }))
	p.ask("sync: null protocol", sync(5, me, gen, func(r *kmsg.SyncGroupRequest) { r.Protocol, r.ProtocolType = nil, nil }))
	p.ask("sync: unknown group", sync(5, me, gen, func(r *kmsg.SyncGroupRequest) { r.Group = "nowhere" }))
	p.ask("sync: empty group", sync(5, me, gen, func(r *kmsg.SyncGroupRequest) { r.Group = "" }))
	p.ask("sync: good", sync(5, me, gen, nil))
	p.ask("sync: again, stable, other assignment", sync(5, me, gen, func(r *kmsg.SyncGroupRequest) { r.GroupAssignment[0].MemberAssignment = []byte("new") }))
	p.ask("heartbeat", beat(me, gen))
	p.ask("heartbeat: wrong generation", beat(me, gen+1))
	p.ask("heartbeat: unknown member", beat("nobody", gen))
	unknown := beat(me, gen)
	unknown.Group = "nowhere"
	p.ask("heartbeat: unknown group", unknown)
	unknown.Group = ""
	p.ask("heartbeat: empty group", unknown)
	instance := beat(me, gen)
	instance.InstanceID = ptr("who")
	p.ask("heartbeat: unknown instance", instance)

	return rebalanced(p, me, gen, beat, sync)
}

// rebalanced goes on from a stable group of one: others try to join it, it rejoins, and it leaves.
func rebalanced(
	p *probe,
	me string, gen int32,
	beat func(string, int32) *kmsg.HeartbeatRequest,
	sync func(int16, string, int32, func(*kmsg.SyncGroupRequest)) *kmsg.SyncGroupRequest,
) error {
	p.ask("second member, other protocol type", join(3, "full", "", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" }))
	p.ask("second member, other protocol name", join(3, "full", "", func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "sticky" }))
	p.ask("leader rejoins unchanged", join(9, "full", me, nil))
	gen++
	p.ask("heartbeat after it", beat(me, gen))
	p.ask("sync", sync(5, me, gen, nil))
	if err := secondMember(p, me, gen, beat); err != nil {
		return err
	}
	leave := func(version int16, members ...string) *kmsg.LeaveGroupRequest {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group = version, "full"
		for _, m := range members {
			req.MemberID = m
			l := kmsg.NewLeaveGroupRequestMember()
			l.MemberID = m
			req.Members = append(req.Members, l)
		}
		return req
	}
	p.ask("leave: unknown member", leave(2, "nobody"))
	p.ask("leave: unknown member", leave(5, "nobody"))
	gone := leave(5, "nobody")
	gone.Group = "nowhere"
	p.ask("leave: unknown group", gone)
	p.ask("leave: nobody at all", leave(5))
	byInstance := leave(5, "")
	byInstance.Members[0].InstanceID = ptr("who")
	p.ask("leave: unknown instance", byInstance)
	p.ask("leave: me and nobody", leave(5, me, "nobody"))
	p.ask("heartbeat after leaving", beat(me, gen))
	return nil
}

// secondMember lets a second member join over another connection, and shows what the first one sees meanwhile.
func secondMember(p *probe, me string, gen int32, beat func(string, int32) *kmsg.HeartbeatRequest) error {
	other := &probe{addr: p.addr, out: p.out, topics: p.topics}
	defer other.close()
	if err := other.dial(); err != nil {
		return err
	}
	req := join(3, "full", "", nil)
	if err := other.conn.Send(req); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	p.ask("heartbeat while a second member joins", beat(me, gen))
	p.ask("commit while a second member joins", commitOffset(9, "full", me, gen, "joined", 0, 5))
	p.ask("commit of the generation before", commitOffset(9, "full", me, gen-1, "joined", 0, 5))
	p.ask("first member rejoins", join(9, "full", me, nil))
	resp, err := other.conn.Receive(req)
	if err != nil {
		return err
	}
	p.say("second member's join → %s", render(resp))
	second := resp.(*kmsg.JoinGroupResponse)
	p.ask("heartbeat between join and sync, old generation", beat(me, gen))
	p.ask("heartbeat between join and sync", beat(me, second.Generation))
	p.ask("commit between join and sync", commitOffset(9, "full", me, second.Generation, "joined", 0, 5))
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.MemberID = 2, "full", second.MemberID
	other.ask("second member leaves, v2", leave)
	return nil
}

func commitOffset(version int16, group, member string, generation int32, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = version, group, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	q := kmsg.NewOffsetCommitRequestTopicPartition()
	q.Partition, q.Offset, q.LeaderEpoch = partition, offset, -1
	t.Partitions = append(t.Partitions, q)
	req.Topics = append(req.Topics, t)
	return req
}
