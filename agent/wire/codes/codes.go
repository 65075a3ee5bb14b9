// Package codes finds the error codes in an answer, wherever they are: of the whole, of a topic, a partition, a group. It must never
// change an answer. What a type of answer looks like is found out once, so that looking through one costs no search.
package codes

import (
	"reflect"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// In calls seen with every error code of an answer that is not 0; top tells that it is of the answer as a whole. m may be nil.
func In(m kmsg.Response, seen func(code int16, top bool)) {
	v := reflect.ValueOf(m)
	if !v.IsValid() || v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return
	}
	v = v.Elem()
	if p := of(v.Type()); p != nil {
		p.visit(v, true, seen)
	}
}

// places is where a struct has error codes.
type places struct {
	code  int    // index of the field ErrorCode; -1: it has none of its own
	lists []list // fields with structs that have some
}

type list struct {
	field int
	in    *places
}

// found is *places by reflect.Type, nil ones included; bounded by the types of answers that there are.
var found sync.Map

func of(t reflect.Type) *places {
	if p, ok := found.Load(t); ok {
		return p.(*places)
	}
	p := find(t)
	found.Store(t, p)
	return p
}

// find looks at the fields of a struct. The types of answers are trees: none contains itself.
func find(t reflect.Type) *places {
	p := &places{code: -1}
	for i := range t.NumField() {
		switch f := t.Field(i); {
		case f.Type.Kind() == reflect.Int16 && f.Name == "ErrorCode":
			p.code = i
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			if in := find(f.Type.Elem()); in != nil {
				p.lists = append(p.lists, list{i, in})
			}
		}
	}
	if p.code < 0 && p.lists == nil {
		return nil
	}
	return p
}

func (p *places) visit(v reflect.Value, top bool, seen func(code int16, top bool)) {
	if p.code >= 0 {
		if code := int16(v.Field(p.code).Int()); code != 0 {
			seen(code, top)
		}
	}
	for _, l := range p.lists {
		all := v.Field(l.field)
		for i := range all.Len() {
			l.in.visit(all.Index(i), false, seen)
		}
	}
}
