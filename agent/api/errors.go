package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/agent/fetch"
	"github.com/leat-stream/leat/agent/group"
	"github.com/leat-stream/leat/agent/produce"
	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

// sentinels maps the errors of the domain packages to Kafka's, first match first.
var sentinels = []struct {
	err   error
	kafka *kerr.Error
}{
	{fetch.ErrUnknownTopic, kerr.UnknownTopicOrPartition},
	{fetch.ErrOutOfRange, kerr.OffsetOutOfRange},
	{fetch.ErrStorage, kerr.KafkaStorageError},
	{fetch.ErrNoSession, kerr.FetchSessionIDNotFound},
	{fetch.ErrSessionEpoch, kerr.InvalidFetchSessionEpoch},
	{fetch.ErrSessionTopicID, kerr.FetchSessionTopicIDError},
	{produce.ErrStorage, kerr.KafkaStorageError},
	{produce.ErrTransactional, kerr.TransactionalIDAuthorizationFailed},
	{produce.ErrLargerThanSegment, kerr.RecordListTooLarge},
	{group.ErrCoordinatorNotAvailable, kerr.CoordinatorNotAvailable},
	{group.ErrNotCoordinator, kerr.NotCoordinator},
	{group.ErrUnknownMember, kerr.UnknownMemberID},
	{group.ErrIllegalGeneration, kerr.IllegalGeneration},
	{group.ErrFencedInstance, kerr.FencedInstanceID},
	{group.ErrRebalanceInProgress, kerr.RebalanceInProgress},
	{group.ErrInconsistentProtocol, kerr.InconsistentGroupProtocol},
	{group.ErrInvalidSessionTimeout, kerr.InvalidSessionTimeout},
	{group.ErrInvalidRequest, kerr.InvalidRequest},
	{group.ErrInvalidGroupID, kerr.InvalidGroupID},
	{group.ErrMemberIDRequired, kerr.MemberIDRequired},
	{group.ErrGroupFull, kerr.GroupMaxSizeReached},
	{group.ErrNoSuchGroup, kerr.GroupIDNotFound},
	{group.ErrGroupNotEmpty, kerr.NonEmptyGroup},
	{group.ErrMetadataTooLarge, kerr.OffsetMetadataTooLarge},
	{group.ErrCommitTooLarge, kerr.InvalidCommitOffsetSize},
	{group.ErrAssignmentTooLarge, kerr.UnknownServerError},
	{group.ErrOvertaken, kerr.CoordinatorLoadInProgress},
	{group.ErrUnknownPartition, kerr.UnknownTopicOrPartition},
	{metadata.ErrTooLarge, kerr.InvalidRequest},
	// Certainly not applied: the client may try again, here or elsewhere.
	{metadata.ErrNotApplied, kerr.NotLeaderForPartition},
	// The rest of the metadata's errors leave the outcome open.
	{metadata.ErrUnavailable, kerr.KafkaStorageError},
	{metadata.ErrUnknown, kerr.RequestTimedOut},
	{metadata.ErrFenced, kerr.RequestTimedOut},
	{metadata.ErrSessionClosed, kerr.RequestTimedOut},
	{metadata.ErrStopped, kerr.RequestTimedOut},
	{context.DeadlineExceeded, kerr.RequestTimedOut},
	{context.Canceled, kerr.RequestTimedOut},
}

var topicKinds = map[topics.Kind]*kerr.Error{
	topics.KindUnknown:            kerr.UnknownTopicOrPartition,
	topics.KindUnknownID:          kerr.UnknownTopicID,
	topics.KindExists:             kerr.TopicAlreadyExists,
	topics.KindInvalidName:        kerr.InvalidTopicException,
	topics.KindInvalidPartitions:  kerr.InvalidPartitions,
	topics.KindInvalidReplication: kerr.InvalidReplicationFactor,
	topics.KindInvalidAssignment:  kerr.InvalidReplicaAssignment,
	topics.KindInvalidConfig:      kerr.InvalidConfig,
	topics.KindInvalidRequest:     kerr.InvalidRequest,
	topics.KindPolicy:             kerr.PolicyViolation,
}

// codes maps what the metadata decided about a batch or an offset.
var codes = map[state.Code]*kerr.Error{
	state.CodeUnknownTopic:       kerr.UnknownTopicOrPartition,
	state.CodeOutOfOrderSequence: kerr.OutOfOrderSequenceNumber,
	state.CodeUnknownProducer:    kerr.UnknownProducerID,
	state.CodeInvalidEpoch:       kerr.InvalidProducerEpoch,
	// Kafka answers a duplicate that it no longer remembers like any other wrong sequence.
	state.CodeDuplicateSequence: kerr.OutOfOrderSequenceNumber,
	state.CodeInvalid:           kerr.InvalidRecord, // a producer id without an epoch, and the like
	state.CodeOffsetOutOfRange:  kerr.OffsetOutOfRange,
}

// code is the Kafka error code of a domain error, 0 for nil.
func code(err error) int16 {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*topics.Error](err); ok {
		return kafkaCode(topicKinds[e.Kind])
	}
	if e, ok := errors.AsType[*topicconfig.Error](err); ok {
		if e.Kind == topicconfig.InvalidConfig {
			return kerr.InvalidConfig.Code
		}
		return kerr.InvalidRequest.Code
	}
	if kind := batch.KindOf(err); kind != 0 {
		return kind.Code()
	}
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Code
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return s.kafka.Code
		}
	}
	return kerr.UnknownServerError.Code
}

// readCode is code for calls that only read records and offsets. REQUEST_TIMED_OUT says that an outcome is unknown: consumers do
// not expect that from a read, and Java's throws it at the application (FetchCollector.handleInitializeErrors). An agent that is about to end,
// or that was taken for dead, answers it otherwise to every consumer that waits.
func readCode(err error) int16 {
	if c := code(err); c != kerr.RequestTimedOut.Code {
		return c
	}
	return kerr.KafkaStorageError.Code
}

// adminCode is code for calls of administrators, who ask the controller: what was certainly not applied they ask it again.
func adminCode(err error) int16 {
	if c := code(err); c != kerr.NotLeaderForPartition.Code {
		return c
	}
	return kerr.NotController.Code
}

func kafkaCode(e *kerr.Error) int16 {
	if e == nil {
		return kerr.UnknownServerError.Code
	}
	return e.Code
}

// stateCode is the Kafka error code of what the metadata decided.
func stateCode(c state.Code) int16 {
	if c == state.CodeOK {
		return 0
	}
	return kafkaCode(codes[c])
}

// message is the text that goes with an error, or null: only errors that are made for clients have one.
func message(err error) *string {
	if e, ok := errors.AsType[*topics.Error](err); ok && e.Message != "" {
		return &e.Message
	}
	if e, ok := errors.AsType[*topicconfig.Error](err); ok {
		return &e.Message
	}
	return nil
}
