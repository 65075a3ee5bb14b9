package codes

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func produced(codes ...int16) *kmsg.ProduceResponse {
	m := kmsg.NewPtrProduceResponse()
	t := kmsg.NewProduceResponseTopic()
	for _, c := range codes {
		p := kmsg.NewProduceResponseTopicPartition()
		p.ErrorCode = c
		t.Partitions = append(t.Partitions, p)
	}
	m.Topics = append(m.Topics, t)
	return m
}

func TestCodesAreFoundAtEveryDepth(t *testing.T) {
	joined := kmsg.NewPtrJoinGroupResponse()
	joined.ErrorCode = 25
	committed := kmsg.NewPtrOffsetFetchResponse()
	committed.ErrorCode = 1
	group := kmsg.NewOffsetFetchResponseGroup()
	group.ErrorCode = 2
	topic := kmsg.NewOffsetFetchResponseGroupTopic()
	partition := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	partition.ErrorCode = 3
	topic.Partitions = append(topic.Partitions, partition)
	group.Topics = append(group.Topics, topic)
	committed.Groups = append(committed.Groups, group)
	for _, c := range []struct {
		m    kmsg.Response
		want []string
	}{
		{nil, nil},
		{(*kmsg.ProduceResponse)(nil), nil},
		{kmsg.NewPtrProduceResponse(), nil},
		{produced(0, 6, 0, -1), []string{"6 false", "-1 false"}},
		{joined, []string{"25 true"}},
		{committed, []string{"1 true", "2 false", "3 false"}},
		{kmsg.NewPtrSASLHandshakeResponse(), nil},
	} {
		var got []string
		In(c.m, func(code int16, top bool) { got = append(got, fmt.Sprint(code, " ", top)) })
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%T: %v, want %v", c.m, got, c.want)
		}
	}
}

// TestEveryAnswerThatHasCodesIsUnderstood: no code may hide where In does not look.
func TestEveryAnswerThatHasCodesIsUnderstood(t *testing.T) {
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		if where := hidden(reflect.TypeOf(req.ResponseKind()).Elem(), false); where != "" {
			t.Errorf("%s: %s", kmsg.NameForKey(key), where)
		}
	}
}

// hidden names an ErrorCode that is not directly in structs and slices of structs.
func hidden(t reflect.Type, behind bool) string {
	for i := range t.NumField() {
		f := t.Field(i)
		in, odd := f.Type, behind
		for in.Kind() == reflect.Pointer || in.Kind() == reflect.Slice || in.Kind() == reflect.Map {
			odd = odd || in.Kind() != reflect.Slice || in.Elem().Kind() != reflect.Struct
			in = in.Elem()
		}
		switch {
		case f.Name == "ErrorCode" && (behind || f.Type.Kind() != reflect.Int16):
			return t.String() + "." + f.Name
		case in.Kind() == reflect.Struct && f.Name != "UnknownTags":
			if where := hidden(in, odd || f.Type.Kind() == reflect.Struct); where != "" {
				return where
			}
		}
	}
	return ""
}

func BenchmarkProduceOfOnePartition(b *testing.B) {
	m, n := produced(0), 0
	b.ReportAllocs()
	for b.Loop() {
		In(m, func(int16, bool) { n++ })
	}
}
