package topicconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Op is an operation of IncrementalAlterConfigs (KIP-339), with its number on the wire.
type Op int8

// The operations.
const (
	Set      Op = 0
	Delete   Op = 1
	Append   Op = 2
	Subtract Op = 3
)

// Change is one operation on one config. Delete ignores the value.
type Change struct {
	Name  string
	Op    Op
	Value *string
}

// Alter returns overrides after changes, in canonical form; overrides itself stays as it is. Either all changes apply or
// none: the error is an *Error worded as Kafka's. As in Kafka, Append and Subtract begin with the value in force, default
// or override; Append adds what is missing, Subtract ignores what is not there and may leave an empty list; deleting an
// unknown name is no error.
func Alter(overrides map[string]string, changes []Change) (map[string]string, error) {
	next := maps.Clone(overrides)
	if next == nil {
		next = map[string]string{}
	}
	seen := map[string]bool{}
	for _, c := range changes {
		if seen[c.Name] {
			return nil, &Error{Kind: InvalidRequest, Message: "Error due to duplicate config keys"}
		}
		seen[c.Name] = true
	}
	for _, c := range changes {
		if err := apply(next, overrides, c); err != nil {
			return nil, err
		}
	}
	if err := canonicalise(next, seen); err != nil {
		return nil, err
	}
	if err := ValidateTogether(next); err != nil {
		return nil, err
	}
	return next, nil
}

// apply makes one change, leaving the check of the new value to canonicalise.
func apply(next, overrides map[string]string, c Change) error {
	if c.Op == Delete {
		delete(next, c.Name)
		return nil
	}
	if c.Value == nil {
		return &Error{Kind: InvalidRequest, Message: "Null value not supported for : " + c.Name}
	}
	switch c.Op {
	case Set:
		next[c.Name] = *c.Value
		return nil
	case Append, Subtract:
	default:
		return &Error{Kind: InvalidRequest, Message: fmt.Sprintf("Unknown operation %d on %s", c.Op, c.Name)}
	}
	d, ok := Lookup(c.Name)
	if !ok || d.Type != List {
		return invalid("Can't %s to key %s because its type is not LIST.", opNames[c.Op], c.Name)
	}
	current, _, _ := Effective(overrides, c.Name)
	list := split(current)
	for e := range strings.SplitSeq(*c.Value, ",") {
		e = strings.TrimSpace(e)
		at := slices.Index(list, e)
		switch {
		case c.Op == Append && at < 0:
			list = append(list, e)
		case c.Op == Subtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	next[c.Name] = strings.Join(list, ",")
	return nil
}

var opNames = map[Op]string{Append: "APPEND", Subtract: "SUBTRACT"}

// canonicalise checks the values of the changed names: unknown names first, then values, each in order of their names.
func canonicalise(next map[string]string, changed map[string]bool) error {
	names := slices.Sorted(maps.Keys(changed))
	for _, name := range names {
		if _, set := next[name]; set {
			if _, ok := Lookup(name); !ok {
				return Validate(name, "")
			}
		}
	}
	for _, name := range names {
		value, set := next[name]
		if !set {
			continue
		}
		canonical, err := Canonical(name, value)
		if err != nil {
			return err
		}
		next[name] = canonical
	}
	return nil
}
