// Package etcd is the journal in an etcd, for who has one: appends take a fraction of a PUT's time.
//
// Every write is one transaction that compares the journal's tip, the index and the term of its newest entry, with what the
// writer believes it to be, and moves it. So nothing can land that is late, sent twice, or from a deposed leader, and no
// entry ever lands in a slot that was trimmed: the traces V1–V3 cannot begin. Every read is linearizable, and what is read
// together is read in one transaction. The truth is then in etcd and not in the bucket, which is why object.Bind ties the two
// together. The package must never look at leases, watches or clocks to decide what is safe, nor touch a key outside
// its prefix.
package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/leat-stream/leat/metadata/journal"
)

// Journal is an open journal in an etcd. It implements journal.Journal. All its fields are set once; what may change is in
// etcd, or belongs to a term.
type Journal struct {
	client  *clientv3.Client
	keys    keys
	cluster [16]byte
	where   string // endpoints and prefix, for messages
	compact bool
}

var _ journal.Journal = (*Journal)(nil)

// ErrUnavailable: etcd did not answer as long as Open waits.
var ErrUnavailable = errors.New("etcd does not answer")

// openPatience bounds how long Open, Identity and MarkBound wait for etcd.
const openPatience = 15 * time.Second

// Open opens the journal that url names (see ParseURL), or makes one with a fresh cluster id if there is nothing below its
// prefix. ErrURL if it names none; ErrUnavailable if no member answers within 15 s, or as long as ctx; ErrMayNotCompact;
// journal.ErrNoHead if there are keys below the prefix, and no head.
func Open(ctx context.Context, url string) (*Journal, error) {
	c, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	return open(ctx, c)
}

// Probe tells whether etcd answers a linearizable read of the journal that url names, within 15 s or as long as ctx, and would
// let it compact. It makes nothing; that there is no journal yet is no error.
func Probe(ctx context.Context, url string) error {
	c, err := ParseURL(url)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openPatience, ErrUnavailable)
	defer cancel()
	j, err := connect(c)
	if err == nil {
		_, err = j.persist(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
			return j.client.Txn(ctx).Then(clientv3.OpGet(j.keys.head()), clientv3.OpGet(j.keys.tip())).Commit()
		})
		if err == nil && c.Compact {
			err = j.mayCompact(ctx)
		}
		_ = j.Close() // nothing was begun that it could fail to end
	}
	if err != nil {
		return fmt.Errorf("journal in etcd %s: %w", c, err)
	}
	return nil
}

func open(ctx context.Context, c Config, more ...grpc.DialOption) (*Journal, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, openPatience, ErrUnavailable)
	defer cancel()
	j, err := connect(c, more...)
	if err != nil {
		return nil, fmt.Errorf("open journal in etcd %s: %w", c, err)
	}
	if c.Compact {
		err = j.mayCompact(ctx)
	}
	if err == nil {
		err = j.prepare(ctx)
	}
	if err != nil {
		_ = j.Close() // nothing was begun that it could fail to end
		return nil, fmt.Errorf("open journal in etcd %s: %w", c, err)
	}
	return j, nil
}

// connect makes the client, which asks etcd for nothing yet unless there is a password.
func connect(c Config, more ...grpc.DialOption) (*Journal, error) {
	t, err := c.tls()
	if err != nil {
		return nil, err
	}
	user, password, err := credentials()
	if err != nil {
		return nil, err
	}
	scheme := "http://"
	if t != nil {
		scheme = "https://"
	}
	var endpoints []string
	for _, e := range c.Endpoints {
		endpoints = append(endpoints, scheme+e)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: t, Username: user, Password: password,
		DialTimeout: openPatience, DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepAliveTimeout,
		MaxUnaryRetries: 2, // of its own the client may only renew a token; attempts are this package's business
		Logger:          zap.NewNop(),
		DialOptions: append(more, grpc.WithChainUnaryInterceptor(unhide), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: lastPause},
			MinConnectTimeout: firstPatience,
		})),
	})
	if err != nil {
		return nil, plain(err)
	}
	return &Journal{client: client, keys: keys(c.Prefix), where: c.String(), compact: c.Compact}, nil
}

// prepare makes head and tip of a journal that has nothing yet, or takes its id from the head that is there. Several agents may
// do this at once: whatever becomes of the attempts, head is what is there then.
func (j *Journal) prepare(ctx context.Context) error {
	fresh := journal.Head{Format: journal.Level, Driver: journal.DriverEtcd}
	rand.Read(fresh.Cluster[:])
	empty := clientv3.Compare(clientv3.CreateRevision(string(j.keys)+"/").WithPrefix(), "=", 0)
	r, err := j.persist(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return j.client.Txn(ctx).If(empty).
			Then(clientv3.OpPut(j.keys.head(), string(journal.EncodeHead(fresh))), clientv3.OpPut(j.keys.tip(), position{}.encode())).
			Else(clientv3.OpGet(j.keys.head())).Commit()
	})
	if err != nil {
		return err
	}
	if r.Succeeded {
		j.cluster = fresh.Cluster
		return nil
	}
	h, err := decodeHead(value(r, 0))
	if errors.Is(err, journal.ErrNoHead) {
		err = fmt.Errorf("%w: but there are keys below its prefix", err)
	}
	j.cluster = h.Cluster
	return err
}

// Close ends the connections. Calls that are running fail, and none may follow.
func (j *Journal) Close() error { return j.client.Close() }

// end is how a journal stood at one moment.
type end struct {
	head     journal.Head
	headRev  int64 // of etcd, at which head was written
	tip      position
	response *clientv3.TxnResponse // answers to what else was asked, from index 2 on
}

// look reads head and tip, and whatever else, at one moment after it began.
func (j *Journal) look(ctx context.Context, more ...clientv3.Op) (end, error) {
	ops := append([]clientv3.Op{clientv3.OpGet(j.keys.head()), clientv3.OpGet(j.keys.tip())}, more...)
	r, err := j.persist(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return j.client.Txn(ctx).Then(ops...).Commit()
	})
	if err != nil {
		return end{}, err
	}
	e := end{response: r}
	if e.head, err = decodeHead(value(r, 0)); err != nil {
		return end{}, err
	}
	if e.head.Cluster != j.cluster {
		return end{}, fmt.Errorf("%w: the journal in etcd %s had cluster id %x when it was opened, and has %x: it was exchanged",
			journal.ErrMismatch, j.where, j.cluster, e.head.Cluster)
	}
	e.headRev = r.Responses[0].GetResponseRange().Kvs[0].ModRevision
	e.tip, err = decodePosition(value(r, 1))
	return e, err
}

// value answers the value of the only key that operation i of a transaction asked for; nil if it is not there.
func value(r *clientv3.TxnResponse, i int) []byte {
	if kvs := r.Responses[i].GetResponseRange().Kvs; len(kvs) == 1 {
		return kvs[0].Value
	}
	return nil
}

// decodeHead reads head; ErrNoHead without one (J6).
func decodeHead(b []byte) (journal.Head, error) {
	if b == nil {
		return journal.Head{}, journal.ErrNoHead
	}
	h, err := journal.DecodeHead(b)
	if err == nil && h.Driver != journal.DriverEtcd {
		err = fmt.Errorf("%w: etcd holds a head of driver %s", journal.ErrMismatch, h.Driver)
	}
	return h, err
}

// at tells how applied stands to the end of the journal.
func (e end) at(applied uint64) error {
	switch {
	case applied+1 < e.head.Boundary:
		return journal.ErrTrimmed
	case applied < e.tip.index:
		return journal.ErrBehind
	case applied > e.tip.index:
		return fmt.Errorf("%w: the journal ends at %d: etcd holds an older copy of it", journal.ErrCorrupt, e.tip.index)
	}
	return nil
}

// Head implements journal.Journal.
func (j *Journal) Head(ctx context.Context) (journal.Head, error) {
	e, err := j.look(ctx)
	if err != nil {
		return journal.Head{}, fmt.Errorf("read head: %w", err)
	}
	return e.head, nil
}

// Tip implements journal.Journal. It is one linearizable read: a quorum of members confirms it.
func (j *Journal) Tip(ctx context.Context, applied uint64) error {
	e, err := j.look(ctx)
	if err == nil {
		err = e.at(applied)
	}
	if err != nil {
		return fmt.Errorf("tip at %d: %w", applied, err)
	}
	return nil
}

// Identity tells what the bucket beside this journal must say, and which one it is bound to: see object.Bind.
func (j *Journal) Identity() (driver journal.Driver, cluster [16]byte, bucket *[16]byte, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), openPatience, ErrUnavailable)
	defer cancel()
	e, err := j.look(ctx, clientv3.OpGet(j.keys.bound()))
	if err != nil {
		return journal.DriverEtcd, cluster, nil, fmt.Errorf("journal in etcd %s: %w", j.where, err)
	}
	return journal.DriverEtcd, e.head.Cluster, journal.DecodeMark(value(e.response, 2)), nil
}

// MarkBound records which bucket's head names this journal, unless that is recorded already. Agents that start together may all do
// it; of agents with different buckets those with the first one win, and the others get journal.ErrMismatch.
func (j *Journal) MarkBound(bucket [16]byte) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), openPatience, ErrUnavailable)
	defer cancel()
	unbound := clientv3.Compare(clientv3.CreateRevision(j.keys.bound()), "=", 0)
	r, err := j.persist(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return j.client.Txn(ctx).If(j.hasHead(), unbound).
			Then(clientv3.OpPut(j.keys.bound(), string(journal.EncodeMark(bucket)))).
			Else(clientv3.OpGet(j.keys.bound()), clientv3.OpGet(j.keys.head())).Commit()
	})
	if err == nil && !r.Succeeded {
		switch was := journal.DecodeMark(value(r, 0)); {
		case was == nil, value(r, 1) == nil:
			err = journal.ErrNoHead
		case *was != bucket: // else it was this attempt, whose answer was lost, or another agent
			err = fmt.Errorf("%w: it was bound to another bucket at the same time: give each cluster a prefix of its own", journal.ErrMismatch)
		}
	}
	if err != nil {
		return fmt.Errorf("journal in etcd %s: %w", j.where, err)
	}
	return nil
}

// hasHead is what every write compares, whatever else it does (J6).
func (j *Journal) hasHead() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(j.keys.head()), ">", 0)
}
