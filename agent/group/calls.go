package group

import (
	"context"
	"slices"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/agent/group/protocols"
)

// What the calls of members say and are answered.
type (
	JoinRequest      = classic.JoinRequest      // is a JoinGroup
	JoinResponse     = classic.JoinResponse     // is the answer to it
	Subscription     = classic.Subscription     // is a member as the leader sees it
	SyncRequest      = classic.SyncRequest      // is a SyncGroup
	SyncResponse     = classic.SyncResponse     // is the answer to it
	Assignment       = classic.Assignment       // is what the leader gives to one member
	HeartbeatRequest = classic.HeartbeatRequest // is a Heartbeat
	LeaveRequest     = classic.LeaveRequest     // is a LeaveGroup
	Leaver           = classic.Leaver           // is a member that leaves
)

// Join waits until the member is part of a generation that is in the journal. Errors: ErrInvalidGroupID, ErrInvalidSessionTimeout,
// ErrInconsistentProtocol, ErrGroupFull, ErrMemberIDRequired, ErrUnknownMember, ErrFencedInstance, ErrRebalanceInProgress (another
// JoinGroup of the same member came), ErrInvalidRequest, ErrNotCoordinator, ErrCoordinatorNotAvailable.
func (c *Coordinator) Join(ctx context.Context, r JoinRequest) (JoinResponse, error) {
	refused := JoinResponse{Member: r.Member}
	if r.Group == "" || len(r.Group) > MaxGroupID {
		return refused, ErrInvalidGroupID
	}
	if !keepable(&r) {
		return refused, ErrInvalidRequest
	}
	if r.SessionTimeout < c.cfg.MinSessionTimeout || r.SessionTimeout > c.cfg.MaxSessionTimeout {
		return refused, ErrInvalidSessionTimeout
	}
	r.RebalanceTimeout = max(r.RebalanceTimeout, 0)
	r.Protocols = protocols.Distinct(r.Protocols)
	need := needAny
	if r.Member != "" {
		need = needMembers
	}
	resp, err := call(ctx, c, r.Group, need, r.Join)
	if err != nil && resp.Member == "" {
		return refused, err
	}
	return resp, err
}

// maxName bounds the names that a member brings, so that a member id made of one can still be kept.
const maxName = MaxGroupID - len("-00000000-0000-0000-0000-000000000000")

// keepable reports whether the journal takes all names of the request.
func keepable(r *JoinRequest) bool {
	for _, p := range r.Protocols {
		if len(p.Name) > maxName {
			return false
		}
	}
	return max(len(r.Instance), len(r.ClientID), len(r.ClientHost), len(r.ProtocolType)) <= maxName
}

// Sync waits until the assignment of the generation is in the journal. Errors: ErrInvalidGroupID, ErrUnknownMember, ErrFencedInstance,
// ErrIllegalGeneration, ErrInconsistentProtocol, ErrRebalanceInProgress, ErrAssignmentTooLarge, ErrNotCoordinator,
// ErrCoordinatorNotAvailable.
func (c *Coordinator) Sync(ctx context.Context, r SyncRequest) (SyncResponse, error) {
	if r.Group == "" || len(r.Group) > MaxGroupID {
		return SyncResponse{}, ErrInvalidGroupID
	}
	return call(ctx, c, r.Group, needMembers, r.Sync)
}

// Leave removes members and answers an error for each: nil, ErrUnknownMember, ErrFencedInstance. That members are gone whom the
// journal knew is in the journal before Leave returns: the next coordinator does not wait for them until their sessions end. Errors
// of the whole request: ErrInvalidGroupID, ErrNotCoordinator, ErrCoordinatorNotAvailable.
func (c *Coordinator) Leave(ctx context.Context, r LeaveRequest) ([]error, error) {
	if r.Group == "" || len(r.Group) > MaxGroupID {
		return nil, ErrInvalidGroupID
	}
	errs, err := call(ctx, c, r.Group, needMembers, r.Leave)
	if err == ErrUnknownMember {
		errs = make([]error, len(r.Members))
		for i := range errs {
			errs[i] = ErrUnknownMember
		}
		return errs, nil
	}
	if i := slices.IndexFunc(errs, func(e error) bool { return e != nil }); i >= 0 && c.verdict(ctx, r.Group, errs[i]) != errs[i] {
		return nil, ErrNotCoordinator
	}
	return errs, err
}

// Heartbeat keeps a member's session. Errors: ErrInvalidGroupID, ErrUnknownMember, ErrFencedInstance, ErrIllegalGeneration,
// ErrRebalanceInProgress (the session is kept; join again), ErrNotCoordinator, ErrCoordinatorNotAvailable.
func (c *Coordinator) Heartbeat(ctx context.Context, r HeartbeatRequest) error {
	if r.Group == "" || len(r.Group) > MaxGroupID {
		return ErrInvalidGroupID
	}
	_, err := call(ctx, c, r.Group, needMembers, r.Beat)
	return err
}
