// Package topics is what an agent knows of topics beyond their metadata: valid names, creation and its defaults,
// configuration in its resolved form, and look-ups that never deny a topic on the word of a replica that may lag.
//
// It holds no truth of its own: every change is a command, every answer a read of the metadata.
package topics

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// Session is the part of metadata.Session that topics need.
type Session interface {
	// Do commits ops and answers once they are applied here. An error means that the outcome is unknown, unless it is
	// metadata.ErrNotApplied.
	Do(ctx context.Context, ops ...state.Op) ([]state.Result, error)
	// Ask looks at one state that is as fresh as f demands.
	Ask(ctx context.Context, f metadata.Freshness, read func(state.Reader)) error
}

// Config is how topics are made.
type Config struct {
	AutoCreate        bool  // make a topic when a client asks for its metadata
	Partitions        int32 // of a topic whose creator does not say
	ReplicationFactor int16 // reported for a topic whose creator does not say
}

// Default is as `leat agent` starts without flags.
func Default() Config { return Config{AutoCreate: true, Partitions: 1, ReplicationFactor: 1} }

// Validate refuses what could not work.
func (c Config) Validate() error {
	if c.Partitions < 1 || c.Partitions > MaxPartitions {
		return fmt.Errorf("default partitions %d: must be between 1 and %d", c.Partitions, MaxPartitions)
	}
	if c.ReplicationFactor < 1 {
		return errors.New("default replication factor must be at least 1")
	}
	return nil
}

// MaxPartitions of one request to create topics, as in Kafka (ReplicationControlManager.MAX_PARTITIONS_PER_BATCH).
const MaxPartitions = 10_000

// Catalog finds, creates and changes topics. Safe for concurrent use.
type Catalog struct {
	cfg     Config
	session Session

	mu       sync.RWMutex
	resolved map[state.UUID]resolved // at most one entry per topic; cleared when it holds more than cacheLimit
}

type resolved struct {
	version uint64
	config  *topicconfig.Topic
}

const cacheLimit = 100_000

// New makes a catalog.
func New(cfg Config, session Session) (*Catalog, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Catalog{cfg: cfg, session: session, resolved: map[state.UUID]resolved{}}, nil
}

// Found is a topic with its resolved configuration, which must not be changed.
type Found struct {
	state.Topic
	Config *topicconfig.Topic
}

// Ref names a topic as a client does.
type Ref struct {
	Name string
	ID   state.UUID // wins over the name unless zero
	// Partition is the highest that will be asked for: a topic that has fewer is looked for at a fresh index, too.
	Partition int32
}

// possible reports whether there can be such a topic.
func (r Ref) possible() bool { return !r.ID.IsZero() || CheckName(r.Name) == nil }

// Find looks the topics up, in order. What is not found is looked for once more at a fresh index (rule R7); what is not there
// either, or has a name that no topic can have, has an *Error of KindUnknown or KindUnknownID. A topic that is found may still have
// no partition Ref.Partition: then that is certain.
func (c *Catalog) Find(ctx context.Context, refs []Ref) ([]Found, []error) {
	found, errs := make([]Found, len(refs)), make([]error, len(refs))
	certain := make([]bool, len(refs))
	missing := 0
	look := func(r state.Reader) {
		missing = 0
		for i, ref := range refs {
			if certain[i] {
				continue
			}
			found[i] = Found{}
			if t, ok := lookup(r, ref); ok {
				found[i] = Found{Topic: t, Config: c.resolve(r, t)}
			}
			certain[i] = ref.Partition < found[i].Partitions || !ref.possible()
			if !certain[i] {
				missing++
			}
		}
	}
	err := c.session.Ask(ctx, metadata.Local(), look)
	if err == nil && missing > 0 {
		err = c.session.Ask(ctx, metadata.Fresh(), look)
	}
	for i, ref := range refs {
		switch {
		case err != nil && !certain[i]:
			found[i], errs[i] = Found{}, err
		case found[i].Config != nil:
		default:
			errs[i] = errUnknownRef(ref)
		}
	}
	return found, errs
}

// FindOne is Find for a single topic.
func (c *Catalog) FindOne(ctx context.Context, ref Ref) (Found, error) {
	found, errs := c.Find(ctx, []Ref{ref})
	return found[0], errs[0]
}

func lookup(r state.Reader, ref Ref) (state.Topic, bool) {
	if !ref.ID.IsZero() {
		return r.Topic(ref.ID)
	}
	return r.TopicByName(ref.Name)
}

// resolve answers the topic's configuration, from the cache if it did not change.
func (c *Catalog) resolve(r state.Reader, t state.Topic) *topicconfig.Topic {
	version := r.ConfigVersion(state.ResourceTopic, t.ID, "")
	c.mu.RLock()
	known, ok := c.resolved[t.ID]
	c.mu.RUnlock()
	if ok && known.version == version {
		return known.config
	}
	config := topicconfig.Resolve(Overrides(t.Configs))
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.resolved) >= cacheLimit {
		clear(c.resolved)
	}
	c.resolved[t.ID] = resolved{version: version, config: &config}
	return &config
}

// Overrides answers configs as a map.
func Overrides(configs []state.Config) map[string]string {
	m := make(map[string]string, len(configs))
	for _, c := range configs {
		m[c.Name] = c.Value
	}
	return m
}

// All answers every topic, ordered by name.
func (c *Catalog) All(ctx context.Context) ([]state.Topic, error) {
	var all []state.Topic
	err := c.session.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		for t := range r.Topics() {
			all = append(all, t)
		}
	})
	return all, err
}

// AutoCreate makes topics with defaults if the agent is so configured and their names allow it. Its errors, one for each name,
// are for the log of whoever cares: the client is told that the topic is unknown, and asks again.
func (c *Catalog) AutoCreate(ctx context.Context, names []string) []error {
	errs := make([]error, len(names))
	if !c.cfg.AutoCreate {
		for i := range errs {
			errs[i] = errUnknown()
		}
		return errs
	}
	specs := make([]Spec, len(names))
	for i, name := range names {
		specs[i] = Spec{Name: name, Partitions: -1, ReplicationFactor: -1}
	}
	for i, created := range c.Create(ctx, specs, false) {
		errs[i] = created.Err
	}
	return errs
}

// newID answers a random topic id.
func newID() (id state.UUID) {
	for id.IsZero() || id == (state.UUID{15: 1}) { // Kafka reserves 0 and 1 (Uuid.RESERVED)
		_, _ = rand.Read(id[:]) // never fails
	}
	return id
}
