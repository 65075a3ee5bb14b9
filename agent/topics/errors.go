package topics

// Kind is the class of a refusal; agent/api maps each to the Kafka error of that name.
type Kind uint8

// The kinds.
const (
	KindUnknown            Kind = iota + 1 // UNKNOWN_TOPIC_OR_PARTITION
	KindUnknownID                          // UNKNOWN_TOPIC_ID
	KindExists                             // TOPIC_ALREADY_EXISTS
	KindInvalidName                        // INVALID_TOPIC_EXCEPTION
	KindInvalidPartitions                  // INVALID_PARTITIONS
	KindInvalidReplication                 // INVALID_REPLICATION_FACTOR
	KindInvalidAssignment                  // INVALID_REPLICA_ASSIGNMENT
	KindInvalidConfig                      // INVALID_CONFIG
	KindInvalidRequest                     // INVALID_REQUEST
	KindPolicy                             // POLICY_VIOLATION
)

// Error is why something about a topic was refused. Message is for the client, in Kafka's words.
type Error struct {
	Kind    Kind
	Message string
}

func (e *Error) Error() string { return e.Message }

func errUnknown() error {
	return &Error{Kind: KindUnknown, Message: "This server does not host this topic-partition."}
}

func errUnknownRef(r Ref) error {
	if r.ID.IsZero() {
		return errUnknown()
	}
	return &Error{Kind: KindUnknownID, Message: "This server does not host this topic ID."}
}
