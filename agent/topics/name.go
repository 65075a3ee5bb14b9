package topics

import (
	"fmt"
	"strings"
)

// MaxNameLength of a topic, in bytes (Topic.MAX_NAME_LENGTH).
const MaxNameLength = 249

// CheckName refuses a name that Kafka refuses, in its words (org.apache.kafka.common.internals.Topic.validate).
func CheckName(name string) error {
	why := ""
	switch {
	case name == "":
		why = "the empty string is not allowed"
	case name == "." || name == "..":
		why = fmt.Sprintf("'%s' is not allowed", name)
	case len(name) > MaxNameLength:
		why = fmt.Sprintf("the length of '%s' is longer than the max allowed length %d", name, MaxNameLength)
	case strings.IndexFunc(name, foreign) >= 0:
		why = fmt.Sprintf("'%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", name)
	default:
		return nil
	}
	return &Error{Kind: KindInvalidName, Message: "Topic name is invalid: " + why}
}

func foreign(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
}

// underscored is the name as it would be in a metric, where dots become underscores: two topics must not have the same.
func underscored(name string) string { return strings.ReplaceAll(name, ".", "_") }

// Internal reports whether a topic is one of Kafka's own. Leat has none, but clients may make topics of these names.
func Internal(name string) bool {
	return name == "__consumer_offsets" || name == "__transaction_state" || name == "__share_group_state"
}
