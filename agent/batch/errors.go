package batch

import (
	"errors"
	"fmt"
)

// Kind is the class of a refusal. Code answers Kafka's error for it.
type Kind uint8

// The kinds, with Kafka's error of the same name.
const (
	Corrupt                Kind = iota + 1 // CORRUPT_MESSAGE: not what the sender's checksum or format promises
	TooLarge                               // MESSAGE_TOO_LARGE: over max.message.bytes, or over the decompression bound
	InvalidTimestamp                       // INVALID_TIMESTAMP: a record outside of the topic's time limits
	UnsupportedFormat                      // UNSUPPORTED_FOR_MESSAGE_FORMAT: wants what the stored format cannot hold
	UnsupportedCompression                 // UNSUPPORTED_COMPRESSION_TYPE: a codec that is unknown or not allowed here
	InvalidRecord                          // INVALID_RECORD: intact, but against the rules
)

var kinds = map[Kind]struct {
	name string
	code int16
}{
	Corrupt:                {"CORRUPT_MESSAGE", 2},
	TooLarge:               {"MESSAGE_TOO_LARGE", 10},
	InvalidTimestamp:       {"INVALID_TIMESTAMP", 32},
	UnsupportedFormat:      {"UNSUPPORTED_FOR_MESSAGE_FORMAT", 43},
	UnsupportedCompression: {"UNSUPPORTED_COMPRESSION_TYPE", 76},
	InvalidRecord:          {"INVALID_RECORD", 87},
}

// Code is the error code of the Kafka protocol.
func (k Kind) Code() int16 { return kinds[k].code }

// String is the name of the error in the Kafka protocol.
func (k Kind) String() string { return kinds[k].name }

// Error is why a batch was refused. Every error of this package about the bytes of a batch is, or wraps, one.
type Error struct {
	Kind    Kind
	Message string
	Records []RecordError // which records are to blame, at most MaxRecordErrors of them; nil if it is the whole batch
}

// RecordError blames one record (KIP-467).
type RecordError struct {
	Index   int32 // of the record in its batch, from 0
	Message string
}

// MaxRecordErrors bounds Error.Records; further bad records are counted in the message only.
const MaxRecordErrors = 256

func (e *Error) Error() string { return e.Kind.String() + ": " + e.Message }

// KindOf answers the kind of the *Error that err is or wraps, 0 if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return 0
}

func corrupt(format string, args ...any) error {
	return &Error{Kind: Corrupt, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &Error{Kind: InvalidRecord, Message: fmt.Sprintf(format, args...)}
}

func tooLarge(format string, args ...any) error {
	return &Error{Kind: TooLarge, Message: fmt.Sprintf(format, args...)}
}
