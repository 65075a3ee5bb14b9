package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Fetch, versions 4 to 18, with sessions (KIP-227) from 7 on and topic ids from 13 on. Followers do not exist: a replica
// id is answered NOT_LEADER_OR_FOLLOWER. A consumer that names its rack is pointed to the agent that leads the partition there (KIP-392);
// that one never points elsewhere.

func init() {
	handlers[kmsg.Fetch.Int16()] = func(ctx context.Context, s *Server, r wire.Request, body kmsg.Request) wire.Response {
		return fetchRecords(ctx, s, r, body.(*kmsg.FetchRequest))
	}
}

// fetching is one Fetch on its way through the layers.
type fetching struct {
	version int16
	turn    *fetch.Turn
	got     []fetch.Got
	pointed map[int]int32 // by place among the items: the preferred read replica
}

func fetchRecords(ctx context.Context, s *Server, r wire.Request, req *kmsg.FetchRequest) wire.Response {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	if r.Version < 7 {
		req.SessionID, req.SessionEpoch = 0, fetch.FinalEpoch
	}
	items, forgotten := fetchItems(r.Version, req)
	owner := fetch.Owner{Principal: r.Principal, Conn: r.Conn}
	turn, err := s.Sessions.Begin(owner, r.Version >= 13, req.SessionID, req.SessionEpoch, items, forgotten)
	if err != nil {
		resp.ErrorCode = code(err)
		return wire.Response{Message: resp}
	}
	f := fetching{version: r.Version, turn: turn}
	fetchTurn(ctx, s, r, req, &f)
	id, listed := turn.Finish(f.got)
	for i := range f.pointed {
		listed[i] = true
	}
	resp.SessionID = id
	resp.Version = r.Version
	records := f.answer(resp, listed, req.IsolationLevel == 1)
	if body := encodeFetch(resp, records); body != nil {
		return wire.Response{Body: body, Message: resp}
	}
	joinRecords(resp, records)
	return wire.Response{Message: resp}
}

// joinRecords gives each partition of resp its records in one piece.
func joinRecords(resp *kmsg.FetchResponse, records []fetch.Records) {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			resp.Topics[i].Partitions[j].RecordBatches = append([]byte{}, records[0].Bytes()...) // Kafka never answers null
			records = records[1:]
		}
	}
}

// fetchItems reads what a request names, in order.
func fetchItems(version int16, req *kmsg.FetchRequest) (items []fetch.Item, forgotten []fetch.Key) {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			it := fetch.Item{
				Key:    fetch.Key{Name: t.Topic, ID: t.TopicID, Partition: p.Partition},
				Offset: p.FetchOffset, MaxBytes: p.PartitionMaxBytes, LeaderEpoch: -1, FetchedEpoch: -1,
			}
			if version >= 9 {
				it.LeaderEpoch = p.CurrentLeaderEpoch
			}
			if version >= 12 {
				it.FetchedEpoch = p.LastFetchedEpoch
			}
			items = append(items, it)
		}
	}
	for _, t := range req.ForgottenTopics {
		for _, p := range t.Partitions {
			forgotten = append(forgotten, fetch.Key{Name: t.Topic, ID: t.TopicID, Partition: p})
		}
	}
	return items, forgotten
}

// fetchTurn resolves the turn's items and fetches those that can be.
func fetchTurn(ctx context.Context, s *Server, r wire.Request, req *kmsg.FetchRequest, f *fetching) {
	items := f.turn.Items
	f.got = make([]fetch.Got, len(items))
	found, errs := fetchTopics(ctx, s, f.version, items)
	want := fetch.Request{
		MaxWait: time.Duration(req.MaxWaitMillis) * time.Millisecond, MinBytes: int64(req.MinBytes),
		MaxBytes: int64(req.MaxBytes), Committed: req.IsolationLevel == 1,
	}
	if r.Memory != nil {
		want.Memory = r.Memory
	}
	var at []int // place of each wanted partition among the items
	g := s.guide(r, req.Rack)
	for i, it := range items {
		err := errs[i]
		if err == nil {
			err = checkItem(req, it, found[i].Topic)
		}
		tp := state.TopicPartition{Topic: found[i].ID, Partition: it.Partition}
		pointed := false
		if err == nil {
			pointed, err = s.nudgeConsumer(ctx, r.Conn, &g, tp, i, it.Offset, f)
		}
		if err != nil {
			f.got[i] = fetch.Got{Err: err, LogStart: -1, Stable: -1, Watermark: -1}
		}
		if err != nil || pointed {
			want.MaxWait = 0 // both are answered at once
			continue
		}
		want.Partitions = append(want.Partitions, fetch.Want{TP: tp, Offset: it.Offset, MaxBytes: int64(it.MaxBytes)})
		at = append(at, i)
	}
	if len(items) == 0 {
		return
	}
	for i, got := range s.Fetcher.Fetch(ctx, want) {
		f.got[at[i]] = got
	}
}

// nudgeConsumer leads a consumer to another agent: by an error, so that it asks for Metadata, or, if it named its rack, by pointing to
// the replica there, with the partition's offsets and no records, as Kafka's leaders do. An offset that is out of range here is for the
// fetch itself to judge.
func (s *Server) nudgeConsumer(ctx context.Context, conn uint64, g *guide, tp state.TopicPartition, i int, offset int64, f *fetching) (pointed bool, err error) {
	to, u := g.better(tp)
	if !g.point {
		if s.Nudges.fetch(ctx, conn, tp, u) {
			return false, kerr.NotLeaderForPartition
		}
		return false, nil
	}
	if u == stay {
		return false, nil
	}
	var v state.View
	known := false
	err = s.Session.Ask(ctx, metadata.Local(), func(r state.Reader) { v, known = r.View(tp, 0, 0) })
	if err != nil || !known || offset < v.LogStart || offset > v.Watermark || !s.Nudges.point(ctx, conn, tp) {
		return false, nil
	}
	if f.pointed == nil {
		f.pointed = map[int]int32{}
	}
	f.pointed[i] = to.NodeID
	f.got[i] = fetch.Got{LogStart: v.LogStart, Stable: v.Stable, Watermark: v.Watermark}
	return true, nil
}

// fetchTopics finds the topics of the items, each topic once.
func fetchTopics(ctx context.Context, s *Server, version int16, items []fetch.Item) ([]topics.Found, []error) {
	index := make(map[topics.Ref]int)
	var refs []topics.Ref
	of := make([]int, len(items))
	for i, it := range items {
		ref := topicRef(version >= 13, it.Name, it.ID)
		n, ok := index[ref]
		if !ok {
			n = len(refs)
			index[ref] = n
			refs = append(refs, ref)
		}
		refs[n].Partition = max(refs[n].Partition, it.Partition)
		of[i] = n
	}
	found, errs := s.Catalog.Find(ctx, refs)
	itemTopics, itemErrs := make([]topics.Found, len(items)), make([]error, len(items))
	for i, n := range of {
		itemTopics[i], itemErrs[i] = found[n], errs[n]
	}
	return itemTopics, itemErrs
}

// checkItem finds what is wrong with one partition of a request, before anything is read.
func checkItem(req *kmsg.FetchRequest, it fetch.Item, t state.Topic) error {
	replica := req.ReplicaID
	if req.Version >= 15 {
		replica = req.ReplicaState.ID
	}
	switch {
	case it.Partition < 0 || it.Partition >= t.Partitions:
		return kerr.UnknownTopicOrPartition
	case replica >= 0:
		return kerr.NotLeaderForPartition
	case req.IsolationLevel != 0 && req.IsolationLevel != 1, req.MaxBytes < 0, it.MaxBytes < 0:
		return kerr.InvalidRequest
	case it.LeaderEpoch > leaderEpoch:
		return kerr.UnknownLeaderEpoch
	case it.FetchedEpoch > leaderEpoch:
		return kerr.OffsetOutOfRange
	}
	return nil
}

// answer fills the response but for the records, which it answers for each partition, in order: one topic entry for each run of
// items of one topic.
func (f *fetching) answer(resp *kmsg.FetchResponse, listed []bool, committed bool) (records []fetch.Records) {
	for i, it := range f.turn.Items {
		if !listed[i] {
			continue
		}
		n := len(resp.Topics)
		if n == 0 || resp.Topics[n-1].Topic != it.Name || resp.Topics[n-1].TopicID != it.ID {
			t := kmsg.NewFetchResponseTopic()
			t.Topic, t.TopicID = it.Name, it.ID
			resp.Topics = append(resp.Topics, t)
			n++
		}
		t := &resp.Topics[n-1]
		p := fetchedPartition(it.Partition, &f.got[i], committed)
		if to, ok := f.pointed[i]; ok {
			p.PreferredReadReplica = to
		}
		t.Partitions = append(t.Partitions, p)
		records = append(records, f.got[i].Records)
	}
	return records
}

func fetchedPartition(partition int32, got *fetch.Got, committed bool) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.ErrorCode = partition, readCode(got.Err)
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = got.Watermark, got.Stable, got.LogStart
	if unknown := p.ErrorCode == kerr.UnknownTopicOrPartition.Code || p.ErrorCode == kerr.UnknownTopicID.Code; committed || unknown {
		p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
	}
	for _, a := range got.Aborted {
		if committed {
			p.AbortedTransactions = append(p.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{
				ProducerID: a.ProducerID, FirstOffset: a.FirstOffset,
			})
		}
	}
	return p
}
