package group

import (
	"errors"
	"fmt"

	"github.com/leat-stream/leat/agent/group/classic"
	"github.com/leat-stream/leat/metadata/state"
)

// The errors of the package. agent/api maps each to the Kafka error in the comment.
var (
	// ErrCoordinatorNotAvailable (COORDINATOR_NOT_AVAILABLE, retriable): not running, the metadata cannot be reached, so that the
	// claim is not confirmed, the outcome of a write is unknown, or a bound of memory is reached.
	ErrCoordinatorNotAvailable = classic.ErrCoordinatorNotAvailable
	// ErrNotCoordinator (NOT_COORDINATOR, retriable: the client asks who is): another agent should coordinate the group, or has
	// claimed it.
	ErrNotCoordinator = errors.New("not the coordinator of the group")
	// ErrUnknownMember (UNKNOWN_MEMBER_ID): the client must join again without a member id.
	ErrUnknownMember = classic.ErrUnknownMember
	// ErrIllegalGeneration (ILLEGAL_GENERATION).
	ErrIllegalGeneration = classic.ErrIllegalGeneration
	// ErrFencedInstance (FENCED_INSTANCE_ID): another member id has the group.instance.id now (KIP-345).
	ErrFencedInstance = classic.ErrFencedInstance
	// ErrRebalanceInProgress (REBALANCE_IN_PROGRESS): the client must join again.
	ErrRebalanceInProgress = classic.ErrRebalanceInProgress
	// ErrInconsistentProtocol (INCONSISTENT_GROUP_PROTOCOL): another protocol type, or no protocol that all members offer.
	ErrInconsistentProtocol = classic.ErrInconsistentProtocol
	// ErrInvalidSessionTimeout (INVALID_SESSION_TIMEOUT).
	ErrInvalidSessionTimeout = errors.New("invalid session timeout")
	// ErrInvalidRequest (INVALID_REQUEST): a name that is too long to be kept.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrInvalidGroupID (INVALID_GROUP_ID): empty where that is not allowed, or longer than MaxGroupID.
	ErrInvalidGroupID = errors.New("invalid group id")
	// ErrMemberIDRequired (MEMBER_ID_REQUIRED): join again with the member id of the answer (KIP-394).
	ErrMemberIDRequired = classic.ErrMemberIDRequired
	// ErrGroupFull (GROUP_MAX_SIZE_REACHED): Config.MaxSize members, or Config.MaxGroupBytes.
	ErrGroupFull = classic.ErrGroupFull
	// ErrNoSuchGroup (GROUP_ID_NOT_FOUND; OffsetCommit before version 9: ILLEGAL_GENERATION; DescribeGroups before version 6: no
	// error, state Dead).
	ErrNoSuchGroup = errors.New("no such group")
	// ErrGroupNotEmpty (NON_EMPTY_GROUP).
	ErrGroupNotEmpty = errors.New("group has members")
	// ErrMetadataTooLarge (OFFSET_METADATA_TOO_LARGE).
	ErrMetadataTooLarge = errors.New("offset metadata too large")
	// ErrCommitTooLarge (INVALID_COMMIT_OFFSET_SIZE): the whole request exceeds Config.MaxCommitBytes.
	ErrCommitTooLarge = errors.New("offset commit too large")
	// ErrAssignmentTooLarge (UNKNOWN_SERVER_ERROR, as Kafka answers when a group does not fit one record).
	ErrAssignmentTooLarge = classic.ErrAssignmentTooLarge
	// ErrOvertaken (COORDINATOR_LOAD_IN_PROGRESS, with which every client tries again without looking for another coordinator): this
	// commit waited while another agent committed offsets, or deleted or expired some; only the client knows which it means.
	ErrOvertaken = errors.New("offset commit was overtaken by another agent's")
	// ErrUnknownPartition (UNKNOWN_TOPIC_OR_PARTITION).
	ErrUnknownPartition = errors.New("unknown topic or partition")
)

// codeError tells what a refusal by Apply means to the client.
func codeError(code state.Code) error {
	switch code {
	case state.CodeOK:
		return nil
	case state.CodeNoSuchGroup:
		return ErrNoSuchGroup
	case state.CodeGroupNotEmpty:
		return ErrGroupNotEmpty
	case state.CodeUnknownMember:
		return ErrUnknownMember
	case state.CodeIllegalGeneration:
		return ErrIllegalGeneration
	case state.CodeFencedInstance:
		return ErrFencedInstance
	case state.CodeRebalanceInProgress:
		return ErrRebalanceInProgress
	case state.CodeUnknownTopic:
		return ErrUnknownPartition
	case state.CodeConflict:
		return ErrNotCoordinator
	}
	return fmt.Errorf("%w: command refused with code %d", ErrCoordinatorNotAvailable, code)
}
