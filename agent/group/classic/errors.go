package classic

import "errors"

// What members are refused with; package group says what each means to a client.
var (
	ErrCoordinatorNotAvailable = errors.New("group coordinator not available")
	ErrUnknownMember           = errors.New("unknown member id")
	ErrIllegalGeneration       = errors.New("illegal generation")
	ErrFencedInstance          = errors.New("group instance id is fenced")
	ErrRebalanceInProgress     = errors.New("rebalance in progress")
	ErrInconsistentProtocol    = errors.New("inconsistent group protocol")
	ErrMemberIDRequired        = errors.New("member id required")
	ErrGroupFull               = errors.New("group is full")
	ErrAssignmentTooLarge      = errors.New("assignment too large")
)
