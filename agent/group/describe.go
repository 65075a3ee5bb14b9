package group

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

const (
	stateDead   = "Dead"    // what Kafka calls a group that does not exist
	typeClassic = "classic" // the group type of the classic protocol (KIP-848)
)

// Listing is a group as ListGroups shows it. Its type is always "classic".
type Listing struct {
	ID, ProtocolType string
	State            string // "Empty", "PreparingRebalance", "CompletingRebalance", "Stable"
}

// Description is a group as DescribeGroups shows it.
type Description struct {
	Listing           // State "Dead" if there is no such group
	Protocol string   // "" unless stable
	Members  []Detail // with subscription and assignment only if stable
	Err      error    // nil, ErrNoSuchGroup, ErrInvalidGroupID, ErrNotCoordinator, ErrCoordinatorNotAvailable
}

// Detail is a member as DescribeGroups shows it.
type Detail = classic.Detail

// List answers all groups, ordered by id. states and types, as in KIP-518 and KIP-848, restrict it unless they are empty;
// case does not matter. Error: ErrCoordinatorNotAvailable.
func (c *Coordinator) List(ctx context.Context, states, types []string) ([]Listing, error) {
	all := map[string]Listing{}
	err := c.door.Ask(ctx, metadata.Fresh(), func(r state.Reader) {
		for id := range r.Groups() {
			if d, ok := r.Group(id); ok {
				all[id] = Listing{ID: id, ProtocolType: d.ProtocolType, State: classic.PhaseOf(&d).String()}
			}
		}
	})
	if err != nil {
		return nil, unavailable(err)
	}
	c.mu.Lock()
	for id, a := range c.groups {
		if l := a.listing.Load(); l != nil && l.State != classic.Empty.String() {
			all[id] = *l
		}
	}
	c.mu.Unlock()
	listed := make([]Listing, 0, len(all))
	for _, l := range all {
		if passes(states, l.State) && passes(types, typeClassic) {
			listed = append(listed, l)
		}
	}
	slices.SortFunc(listed, func(a, b Listing) int { return cmp.Compare(a.ID, b.ID) })
	return listed, nil
}

func passes(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
}

// Describe answers a Description for each id, in their order.
func (c *Coordinator) Describe(ctx context.Context, ids []string) []Description {
	all := make([]Description, len(ids))
	for i, id := range ids {
		all[i] = c.describe(ctx, id)
	}
	return all
}

func (c *Coordinator) describe(ctx context.Context, id string) Description {
	failed := func(err error) Description { return Description{Listing: Listing{ID: id}, Err: err} }
	if len(id) > MaxGroupID {
		return failed(ErrInvalidGroupID)
	}
	d, err := call(ctx, c, id, needHeld, func(g *classic.Group, w *waiter[Description], _ time.Time) { w.Answer(describe(id, g), nil) })
	if err == nil && d.State != classic.Empty.String() {
		return d
	}
	if err != nil && err != errAbsent {
		return failed(err)
	}
	// Without members, memory has nothing to tell that the journal has not.
	found := false
	var held state.Group
	if err := c.door.Ask(ctx, metadata.Fresh(), func(r state.Reader) { held, found = r.Group(id) }); err != nil {
		return failed(unavailable(err))
	}
	if !found {
		return Description{Listing: Listing{ID: id, State: stateDead}, Err: ErrNoSuchGroup}
	}
	return describe(id, classic.Restore(&c.cfg.Limits, held, time.Now()))
}

func describe(id string, g *classic.Group) Description {
	d := Description{Listing: Listing{ID: id, ProtocolType: g.ProtocolType, State: g.Phase.String()}, Members: classic.Details(g)}
	if g.Phase == classic.Stable {
		d.Protocol = g.Protocol
	}
	return d
}

// Delete deletes groups and their offsets, and answers an error for each: nil, ErrGroupNotEmpty, ErrNoSuchGroup, ErrInvalidGroupID,
// ErrCoordinatorNotAvailable (then it may be deleted now or later).
func (c *Coordinator) Delete(ctx context.Context, ids []string) []error {
	errs := make([]error, len(ids))
	for i, id := range ids {
		errs[i] = c.delete(ctx, id)
	}
	return errs
}

func (c *Coordinator) delete(ctx context.Context, id string) error {
	if len(id) > MaxGroupID {
		return ErrInvalidGroupID
	}
	// Who is about to join an empty group is known to memory alone.
	_, err := call(ctx, c, id, needHeld, func(g *classic.Group, w *waiter[struct{}], _ time.Time) {
		var err error
		if g.Phase != classic.Empty {
			err = ErrGroupNotEmpty
		}
		w.Answer(struct{}{}, err)
	})
	if err != nil && err != errAbsent {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.WriteTimeout)
	defer cancel()
	results, err := c.door.Do(ctx, state.DeleteGroup{Group: id})
	if err != nil {
		return unavailable(err)
	}
	return codeError(results[0].Code)
}
