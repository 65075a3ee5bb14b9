package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leat-stream/leat/metadata/journal"
)

// Trim implements journal.Journal. It publishes, deletes, and has etcd forget the history that came before the trim before.
func (j *Journal) Trim(ctx context.Context, t journal.Trim) error {
	h, before, err := j.publish(ctx, t)
	if err == nil {
		err = j.drop(ctx, t.From, h.Deletable(t), t.Keep)
	}
	if err != nil {
		return fmt.Errorf("trim to %d: %w", t.Boundary, err)
	}
	if before > 0 && j.compact {
		j.forget(ctx, before)
	}
	return nil
}

// publish swaps head, iff t makes it grow, and answers the head that is there then, and the revision of etcd at which the head
// that it replaced was written; 0 if it replaced none. An attempt whose fate is unknown is followed by another look: if it was done,
// head does not grow any more; should it be done late, head has another revision than it compares with.
func (j *Journal) publish(ctx context.Context, t journal.Trim) (h journal.Head, replaced int64, err error) {
	var last error
	for number := 0; ; number++ {
		e, err := j.look(ctx)
		if err != nil {
			return h, 0, err
		}
		next, grown, err := e.head.Grow(t)
		switch {
		case err != nil:
			return h, 0, err
		case !grown:
			return e.head, replaced, nil
		}
		r, err := attempt(ctx, number, func(ctx context.Context) (*clientv3.TxnResponse, error) {
			return j.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(j.keys.head()), "=", e.headRev)).
				Then(clientv3.OpPut(j.keys.head(), string(journal.EncodeHead(next)))).Commit()
		})
		switch {
		case err == nil && r.Succeeded:
			return next, e.headRev, nil
		case err == nil:
			continue // somebody else swapped it: no reason to wait
		case final(err):
			return h, 0, plain(err)
		}
		last, replaced = worse(last, err), e.headRev
		if pause(ctx, number) != nil {
			return h, 0, ended(ctx, last)
		}
	}
}

// dropKeys bounds how many keys one transaction of drop deletes, so that others who use etcd need not wait long.
const dropKeys = 500

// drop deletes the entries and parts in [from, end) but for those that keep names (J5). Nothing is ever written into these slots
// again, so a deletion may be repeated and may land late. Of an entry that is kept, a fence, the parts that its stub does not
// name go too: somebody wanted its slot and did not get it.
func (j *Journal) drop(ctx context.Context, from, end uint64, keep func(uint64) bool) error {
	from = max(from, 1)
	if from >= end {
		return nil
	}
	err := j.dropRange(ctx, j.keys.entry(from), j.keys.entry(end), func(key string, index uint64) (bool, error) {
		return keep(index), nil
	})
	if err != nil {
		return err
	}
	kept := map[uint64]string{} // what the parts of a kept entry begin with
	return j.dropRange(ctx, j.keys.partsAt(from), j.keys.partsAt(end), func(key string, index uint64) (bool, error) {
		if !keep(index) {
			return false, nil
		}
		if _, ok := kept[index]; !ok {
			parts, err := j.partsOf(ctx, index)
			if err != nil {
				return false, err
			}
			kept[index] = parts
		}
		return kept[index] != "" && strings.HasPrefix(key, kept[index]), nil
	})
}

// partsOf answers what the parts of the entry at index begin with; "" if it has none.
func (j *Journal) partsOf(ctx context.Context, index uint64) (string, error) {
	e, err := j.look(ctx, clientv3.OpGet(j.keys.entry(index)))
	if err != nil {
		return "", err
	}
	b := value(e.response, 2)
	if !isStub(b) {
		return "", nil
	}
	s, err := decodeStub(b)
	if err != nil {
		return "", fmt.Errorf("entry %d: %w", index, err)
	}
	return j.keys.parts(index, s.id), nil
}

// dropRange deletes the keys of a range of entries or parts, but for those that keep names: page by page of names, and in each
// page those that lie together by one operation.
func (j *Journal) dropRange(ctx context.Context, from, end string, keep func(key string, index uint64) (bool, error)) error {
	for more := true; more; {
		e, err := j.look(ctx, clientv3.OpGet(from, clientv3.WithRange(end), clientv3.WithKeysOnly(), clientv3.WithLimit(dropKeys)))
		if err != nil {
			return err
		}
		r := e.response.Responses[2].GetResponseRange()
		more = r.More && len(r.Kvs) > 0
		first := "" // of the run of keys to delete that the last key belongs to
		for _, kv := range r.Kvs {
			key := string(kv.Key)
			index, err := j.keys.index(kv.Key)
			if err != nil {
				return err
			}
			kept, err := keep(key, index)
			if err != nil {
				return err
			}
			switch {
			case kept && first != "":
				err, first = j.remove(ctx, first, key), ""
			case !kept && first == "":
				first = key
			}
			if err != nil {
				return err
			}
			from = key + "\x00"
		}
		if first != "" {
			if err := j.remove(ctx, first, from); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove deletes the keys in [from, end), as far as they are there.
func (j *Journal) remove(ctx context.Context, from, end string) error {
	_, err := j.persist(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return j.client.Txn(ctx).Then(clientv3.OpDelete(from, clientv3.WithRange(end))).Commit()
	})
	return err
}

// ErrMayNotCompact: where users are asked who they are, current versions of etcd let only root compact.
var ErrMayNotCompact = errors.New("this user may not compact etcd's history, so have etcd do it (--auto-compaction-retention) and add compact=false to the URL")

// mayCompact finds out before anything is written, since an etcd that nobody compacts fills up and stops for everybody. There is
// no revision -1: whoever may compact is told that it is gone already.
func (j *Journal) mayCompact(ctx context.Context) error {
	_, err := j.persist(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		_, err := j.client.Compact(ctx, -1)
		if errors.Is(err, rpctypes.ErrCompacted) {
			err = nil
		}
		return nil, err
	})
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		return ErrMayNotCompact
	}
	return err
}

// forget has etcd drop the history of all keys before a revision. Without it every version of tip and every deleted entry would
// stay, until etcd is full and takes no more writes from anybody. The revision is that of the head before the one just
// published, so what one trim deletes is forgotten by the next, and others who use this etcd can look back over at least
// one period between two trims. It is tried once: others may have gone further, and the next trim will do it as well.
func (j *Journal) forget(ctx context.Context, before int64) {
	ctx, cancel := context.WithTimeout(ctx, firstPatience)
	defer cancel()
	_, _ = j.client.Compact(ctx, before)
}
