// Package protocols is the choice among the protocols that members of a group offer: assignors, to a consumer. It must never look
// into their metadata, which is the clients' own.
package protocols

import (
	"bytes"
	"slices"

	"github.com/leat-stream/leat/metadata/state"
)

// Metadata is what is offered for a protocol, nil if it is not offered.
func Metadata(offered []state.Protocol, name string) []byte {
	for _, p := range offered {
		if p.Name == name {
			return p.Metadata
		}
	}
	return nil
}

// Distinct drops all but the first protocol of a name, so that counting who supports what stays right.
func Distinct(offered []state.Protocol) []state.Protocol {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(offered), func(p state.Protocol) bool {
		again := seen[p.Name]
		seen[p.Name] = true
		return again
	})
}

// Same reports whether two offers are the same, in the same order.
func Same(a, b []state.Protocol) bool {
	return slices.EqualFunc(a, b, func(a, b state.Protocol) bool { return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata) })
}

// Tally counts how many members offer each protocol. The zero value is not ready: make it.
type Tally map[string]int

// Add counts an offer by times; -1 takes it back.
func (t Tally) Add(offered []state.Protocol, by int) {
	for _, p := range offered {
		if t[p.Name] += by; t[p.Name] == 0 {
			delete(t, p.Name)
		}
	}
}

// Vote chooses the protocol that most members prefer among those that all offer; ties go to the one that was named first. ""
// if there is none.
func (t Tally) Vote(members [][]state.Protocol) (best string) {
	votes := map[string]int{}
	for _, offered := range members {
		for _, p := range offered {
			if t[p.Name] == len(members) {
				votes[p.Name]++
				break
			}
		}
	}
	for _, offered := range members {
		for _, p := range offered {
			if votes[p.Name] > votes[best] {
				best = p.Name
			}
		}
	}
	return best
}
