package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commit commits one offset, and waits so long. certain: nothing was, or will be, committed.
func (c *client) commit(host, group, member string, generation int32, where partition, offset int64, patience time.Duration) (err error, certain bool) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 8, group, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = where.topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = where.number, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, _, err := ask[*kmsg.OffsetCommitResponse](c, background, patience, host, req, nil)
	if err != nil {
		return err, false
	}
	err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	switch err {
	case kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.FencedInstanceID, kerr.UnknownTopicOrPartition, kerr.NotCoordinator:
		certain = true
	}
	return err, certain
}

// committed asks what was committed; -1: nothing.
func (c *client) committed(host, group string, where partition) (int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = 7, group
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: where.topic, Partitions: []int32{where.number}}}
	op := c.w.history.begin(c.name, offsetsKey(group, where), look)
	resp, _, err := ask[*kmsg.OffsetFetchResponse](c, background, 10*time.Second, host, req, nil)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		op.drop()
		return 0, err
	}
	at := resp.Topics[0].Partitions[0].Offset
	op.end(at)
	return at, nil
}

func offsetsKey(group string, where partition) string {
	return "offsets " + group + " " + where.String()
}

// commitAlone commits offsets, of no order, to a group without members, and asks for them.
func (c *client) commitAlone() {
	for !c.w.over() {
		c.pause(800 * time.Millisecond)
		where := partition{topicNames[0], int32(c.rng.IntN(partitions))}
		host := c.coordinator("alone")
		if chance(c.rng, 0.5) {
			_, _ = c.committed(host, "alone", where)
			continue
		}
		offset := c.rng.Int64N(1 << 40)
		op := c.w.history.begin(c.name, offsetsKey("alone", where), offset)
		switch err, certain := c.commit(host, "alone", "", -1, where, offset, 10*time.Second); {
		case err == nil:
			op.end(yes)
		case certain:
			op.drop()
		}
	}
}

const crew = "crew" // the group of those who share the work

// consume is a member of a group that reads its share and commits how far it came.
func (c *client) consume() {
	member := ""
	for !c.w.over() {
		host := c.coordinator(crew)
		generation, share, err := c.join(host, &member)
		if err == nil {
			c.work(host, &member, generation, share)
		}
		c.pause(300 * time.Millisecond)
	}
}

// join becomes a member, and answers its share.
func (c *client) join(host string, member *string) (generation int32, share []partition, err error) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 7, crew, *member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 5_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte(c.name)}}
	resp, _, err := ask[*kmsg.JoinGroupResponse](c, background, 30*time.Second, host, req, nil)
	if err != nil {
		return 0, nil, err
	}
	switch err := kerr.ErrorForCode(resp.ErrorCode); err {
	case nil:
	case kerr.MemberIDRequired:
		*member = resp.MemberID
		return 0, nil, err
	case kerr.UnknownMemberID:
		*member = ""
		return 0, nil, err
	default:
		return 0, nil, err
	}
	*member = resp.MemberID
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 5, crew, *member, resp.Generation
	sync.ProtocolType, sync.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	if resp.LeaderID == *member {
		var all []string
		for _, m := range resp.Members {
			all = append(all, m.MemberID)
		}
		slices.Sort(all)
		shares := make([][]string, len(all))
		for i := range len(topicNames) * partitions {
			shares[i%len(all)] = append(shares[i%len(all)], fmt.Sprintf("%s %d", topicNames[i/partitions], i%partitions))
		}
		for i, id := range all {
			sync.GroupAssignment = append(sync.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{
				MemberID: id, MemberAssignment: []byte(strings.Join(shares[i], ",")),
			})
		}
	}
	given, _, err := ask[*kmsg.SyncGroupResponse](c, background, 20*time.Second, host, sync, nil)
	if err == nil {
		err = kerr.ErrorForCode(given.ErrorCode)
	}
	if err != nil {
		if err == kerr.UnknownMemberID {
			*member = ""
		}
		return 0, nil, err
	}
	for s := range strings.SplitSeq(string(given.MemberAssignment), ",") {
		var p partition
		if _, err := fmt.Sscanf(s, "%s %d", &p.topic, &p.number); err == nil {
			share = append(share, p)
		}
	}
	return resp.Generation, share, nil
}

// work reads and commits until the group wants something else.
func (c *client) work(host string, member *string, generation int32, share []partition) {
	at := map[partition]int64{}
	for _, where := range share {
		offset, err := c.committed(host, crew, where)
		if err != nil {
			return
		}
		at[where] = max(offset, 0)
	}
	for !c.w.over() {
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Version, beat.Group, beat.MemberID, beat.Generation = 4, crew, *member, generation
		resp, _, err := ask[*kmsg.HeartbeatResponse](c, background, 5*time.Second, host, beat, nil)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			if err == kerr.UnknownMemberID {
				*member = ""
			}
			return
		}
		for _, where := range share {
			next, _, err := c.fetch(c.anyHost(), where, at[where], 0)
			if err != nil || next == at[where] {
				continue
			}
			at[where] = next
			op := c.w.history.begin(c.name, offsetsKey(crew, where), next)
			to := host
			if chance(c.rng, 0.5) { // any agent takes commits
				to = c.anyHost()
			}
			switch err, certain := c.commit(to, crew, *member, generation, where, next, time.Second+time.Duration(c.rng.Int64N(int64(4*time.Second)))); {
			case err == nil:
				op.end(yes)
			case err == kerr.UnknownMemberID:
				*member = ""
				fallthrough
			case certain:
				op.drop()
				return
			} // otherwise it is given up: it may be committed late, and must not undo the next one
			if chance(c.rng, 0.3) {
				_, _ = c.committed(c.anyHost(), crew, where)
			}
		}
		c.pause(600 * time.Millisecond)
	}
}
