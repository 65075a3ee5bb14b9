package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leat-stream/leat/agent/yielding"
	"github.com/leat-stream/leat/cache"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/journal/bolt"
	"github.com/leat-stream/leat/metadata/journal/etcd"
	"github.com/leat-stream/leat/metadata/journal/mem"
	"github.com/leat-stream/leat/metadata/journal/object"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/health"
	"github.com/leat-stream/leat/objectstore/limit"
	"github.com/leat-stream/leat/objectstore/meter"
	"github.com/leat-stream/leat/objectstore/retry"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

// ground is what an agent stands on: the bucket, with its decorators, and the metadata journal.
//
//	produce ──────────────► limit ─► health ─► meter ─► driver     a PUT is never repeated under the same name by a decorator
//	cache, images ─► retry ─► limit ─► health ─► meter ─► driver
//	journal ──────────────────────► health ─► meter ─► driver      the journal resolves every ambiguous answer itself (J1)
type ground struct {
	keys    objectstore.Keys
	cluster [16]byte

	health   *health.Store
	store    objectstore.Store // limited, watched and metered
	retrying objectstore.Store
	journal  journal.Journal
	yielding *yielding.Journal // the journal if it is in the bucket, else nil
	images   *object.Images

	storeName, journalName string
	closers                []io.Closer
}

// DefaultJournal is the journal of a store whose URL is given, when none is named: the bucket itself, or a bbolt file
// beside a store that is on this machine anyway.
func DefaultJournal(store string) (string, error) {
	u, err := storeurl.Parse(store)
	switch {
	case err != nil:
		return "", err
	case u.Kind.Remote():
		return "bucket:", nil
	case u.Kind == storeurl.Mem:
		return "mem:", nil
	}
	return "bolt://" + strings.TrimSuffix(u.Dir, "/") + ".journal", nil
}

// openGround opens and probes the bucket and opens the journal that belongs to it.
func openGround(ctx context.Context, cfg Config, reg prometheus.Registerer) (*ground, error) {
	g := &ground{storeName: cfg.Store, journalName: cfg.Journal}
	if err := g.open(ctx, cfg, reg); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *ground) open(ctx context.Context, cfg Config, reg prometheus.Registerer) error {
	u, err := storeurl.Parse(cfg.Store)
	if err != nil {
		return err
	}
	if g.journalName == "" {
		if g.journalName, err = DefaultJournal(cfg.Store); err != nil {
			return err
		}
	}
	if err = CheckJournal(g.journalName, u.Kind); err != nil {
		return err
	}
	if g.keys, err = objectstore.NewKeys(cfg.Cluster); err != nil {
		return err
	}
	driver, err := u.Open(ctx)
	if err != nil {
		return err
	}
	if c, ok := driver.(io.Closer); ok {
		g.closers = append(g.closers, c)
	}
	metered := meter.New(driver)
	reg.MustRegister(metered)
	if err = probe(ctx, metered, g.keys); err != nil {
		return fmt.Errorf("store %s: %w", cfg.Store, err)
	}
	g.health = health.New(metered, health.Default(), func() string { return g.keys.Probe(newID()) }, reg)
	g.store = limit.New(g.health, limit.Default())
	g.retrying = retry.New(g.store, retry.Default())
	if err = g.openJournal(ctx, g.health); err != nil {
		return err
	}
	g.images = object.NewImages(g.retrying, g.keys)
	head, err := g.journal.Head(ctx)
	if err != nil {
		return err
	}
	g.cluster = head.Cluster
	return nil
}

// How often a bucket is probed that does not answer properly at the moment: 2.5 s of pauses in all.
const (
	probes     = 6
	probePause = 80 * time.Millisecond // doubled each time
)

// probe probes the bucket. One that is overloaded, fails inside or drops connections is probed anew, under other names, since
// an agent that is started in such a moment, perhaps because of it, should not give up. What says something about the
// bucket, or that nobody is there, is told at once.
func probe(ctx context.Context, store objectstore.Store, keys objectstore.Keys) error {
	for n, pause := 1, probePause; ; n, pause = n+1, 2*pause {
		err := objectstore.Probe(ctx, store, keys)
		if err == nil || n == probes || !passing(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// passing reports whether an error may be gone in a moment.
func passing(err error) bool {
	if errors.Is(err, objectstore.ErrThrottled) {
		return true
	}
	for _, lasting := range []error{
		objectstore.ErrNotApplied, objectstore.ErrDenied, objectstore.ErrNoBucket, objectstore.ErrClockSkew, objectstore.ErrUnsupported,
	} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return true
}

// ErrNoDriver: a journal that this version cannot keep.
var ErrNoDriver = errors.New("no such journal driver")

// CheckJournal refuses a journal URL that cannot work, or that would put the truth where it may be wiped.
func CheckJournal(url string, store storeurl.Kind) error {
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "bucket":
		if rest != "" {
			return fmt.Errorf("journal %q: nothing may follow bucket:", url)
		}
		return nil
	case "mem":
		if rest != "" {
			return fmt.Errorf("journal %q: nothing may follow mem:", url)
		}
		if store != storeurl.Mem {
			return fmt.Errorf("journal %q: it ends with this process, and the records in a %s store would be lost with it; use bucket:", url, store)
		}
		return nil
	case "bolt":
		if store.Remote() {
			return fmt.Errorf("journal %q: with a %s store the truth would be on a disk that may be wiped; use bucket:", url, store)
		}
		if !strings.HasPrefix(rest, "///") || len(rest) == 3 {
			return fmt.Errorf("journal %q: want an absolute file with three slashes, as in bolt:///var/lib/leat/journal", url)
		}
		return nil
	case "etcd", "etcds":
		if store == storeurl.Mem {
			return fmt.Errorf("journal %q: it outlives this process, and the records in a %s store do not; use mem:", url, store)
		}
		_, err := etcd.ParseURL(url)
		return err
	}
	return fmt.Errorf("journal %q: %w; want bucket:, etcd://host:port/prefix, bolt:///file or mem:", url, ErrNoDriver)
}

func (g *ground) openJournal(ctx context.Context, store objectstore.Store) error {
	if g.journalName == "bucket:" {
		if err := object.Create(ctx, store, g.keys); err != nil {
			return err
		}
		j, err := object.Open(ctx, store, g.keys)
		if err != nil {
			return err
		}
		g.yielding = yielding.New(j, g.health.Stuck)
		g.journal = g.yielding
		return nil
	}
	j, err := g.openLocal(ctx)
	if err != nil {
		return err
	}
	g.journal = j
	return object.Bind(ctx, store, g.keys, j)
}

// local is a journal whose entries are not in the bucket.
type local interface {
	journal.Journal
	object.Local
}

// openLocal opens the journal that CheckJournal has found to be right, and remembers to close it.
func (g *ground) openLocal(ctx context.Context) (local, error) {
	switch scheme, _, _ := strings.Cut(g.journalName, ":"); scheme {
	case "mem":
		return mem.New().Open(), nil
	case "bolt":
		b, err := bolt.Open(strings.TrimPrefix(g.journalName, "bolt://"))
		if err != nil {
			return nil, err
		}
		g.closers = append(g.closers, b)
		return b, nil
	default:
		e, err := etcd.Open(ctx, g.journalName)
		if err != nil {
			return nil, err
		}
		g.closers = append(g.closers, e)
		return e, nil
	}
}

// source reads byte ranges for the cache.
func (g *ground) source(ctx context.Context, m cache.Miss) (io.ReadCloser, error) {
	o, err := g.retrying.Get(ctx, m.Key, objectstore.Range{Offset: m.Off, Length: m.N})
	return o.Reader, err
}

// close closes what can be closed, the last opened first.
func (g *ground) close() {
	for i := len(g.closers) - 1; i >= 0; i-- {
		_ = g.closers[i].Close() // everything that matters was synced when it was written
	}
}
