package etcd

import (
	"context"
	"fmt"
	"iter"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leat-stream/leat/metadata/journal"
)

// How much one request of Read asks for: pageEntries of at most inlineLimit bytes, or pageParts of at most partSize. So a reader
// holds about 8 MiB, and, while it puts together an entry from parts, that entry and 4 MiB.
const (
	pageEntries = 64
	pageParts   = 4
)

// Read implements journal.Journal. A page is read together with head and tip; what a page shows at or above the boundary that
// comes with it was never trimmed (J2).
func (j *Journal) Read(ctx context.Context, from uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		for next := from; ; {
			page, last, err := j.page(ctx, next)
			for _, kv := range page {
				e, damage := j.decode(ctx, kv, next)
				if damage != nil {
					err = damage
					break
				}
				if !yield(e, nil) {
					return
				}
				next++
			}
			if err != nil {
				yield(journal.Entry{}, fmt.Errorf("read journal at %d: %w", next, err))
				return
			}
			if last {
				return
			}
		}
	}
}

// page answers the next entries as they are stored, at most pageEntries, and whether the journal ended behind them. It answers
// those before a hole together with the error.
func (j *Journal) page(ctx context.Context, from uint64) (page []*mvccpb.KeyValue, last bool, err error) {
	e, err := j.look(ctx, clientv3.OpGet(j.keys.entry(from), clientv3.WithRange(j.keys.entriesEnd()), clientv3.WithLimit(pageEntries)))
	switch {
	case err != nil:
		return nil, false, err
	case from == 0 || from < e.head.Boundary: // there is no entry 0
		return nil, false, journal.ErrTrimmed
	case from > e.tip.index:
		return nil, true, nil
	}
	page = e.response.Responses[2].GetResponseRange().Kvs
	for i, kv := range page {
		index, err := j.keys.index(kv.Key)
		if err != nil {
			return page[:i], false, err
		}
		if index != from+uint64(i) {
			return page[:i], false, fmt.Errorf("entry %d: %w: it is missing, and later ones are there", from+uint64(i), journal.ErrCorrupt)
		}
	}
	behind := from + uint64(len(page))
	if len(page) < pageEntries && behind <= e.tip.index {
		return page, false, fmt.Errorf("entry %d: %w: it is missing, and the journal ends at %d", behind, journal.ErrCorrupt, e.tip.index)
	}
	return page, behind > e.tip.index, nil
}

// decode reads an entry, from its parts if a stub stands for it.
func (j *Journal) decode(ctx context.Context, kv *mvccpb.KeyValue, index uint64) (journal.Entry, error) {
	b := kv.Value
	if isStub(b) {
		s, err := decodeStub(b)
		if err != nil {
			return journal.Entry{}, fmt.Errorf("entry %d: %w", index, err)
		}
		if b, err = j.assemble(ctx, index, s); err != nil {
			return journal.Entry{}, err
		}
	}
	return journal.DecodeEntry(b, j.cluster, index)
}

// assemble puts together what a stub stands for. Parts are complete before a stub names them and are never changed, so what is
// missing was trimmed since, or is lost.
func (j *Journal) assemble(ctx context.Context, index uint64, s stub) ([]byte, error) {
	var b []byte
	first := j.keys.parts(index, s.id)
	behind := clientv3.GetPrefixRangeEnd(first)
	for more := true; more; {
		e, err := j.look(ctx, clientv3.OpGet(first, clientv3.WithRange(behind), clientv3.WithLimit(pageParts)))
		if err != nil {
			return nil, err
		}
		if e.head.Boundary > index {
			return nil, journal.ErrTrimmed
		}
		r := e.response.Responses[2].GetResponseRange()
		more = r.More && len(r.Kvs) > 0
		for _, kv := range r.Kvs {
			if b = append(b, kv.Value...); len(b) > s.length {
				return nil, fmt.Errorf("entry %d: %w: its parts have more than %d bytes", index, journal.ErrCorrupt, s.length)
			}
			first = string(kv.Key) + "\x00"
		}
	}
	if len(b) != s.length {
		return nil, fmt.Errorf("entry %d: %w: its parts have %d bytes, should have %d", index, journal.ErrCorrupt, len(b), s.length)
	}
	return b, nil
}
