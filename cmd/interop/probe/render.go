package main

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// render prints the fields of a kmsg message that have not their default, error codes by name: the same answer always prints the
// same line, so that two servers' transcripts can be compared with diff.
func render(v any) string {
	var b strings.Builder
	renderValue(&b, reflect.ValueOf(v), "")
	return scrub(b.String())
}

var fieldsLeftOut = map[string]bool{"Version": true, "UnknownTags": true, "ThrottleMillis": true, "TimeoutMillis": true}

func renderValue(b *strings.Builder, v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.WriteString("null")
			return
		}
		renderValue(b, v.Elem(), field)
	case reflect.Struct:
		renderStruct(b, v)
	case reflect.Slice, reflect.Array:
		renderList(b, v, field)
	case reflect.Int16:
		if field == "ErrorCode" {
			b.WriteString(errorName(int16(v.Int())))
			return
		}
		fmt.Fprint(b, v.Int())
	case reflect.Int64:
		if d := time.Since(time.UnixMilli(v.Int())); d < time.Hour && d > -time.Hour {
			b.WriteString("<now>")
			return
		}
		fmt.Fprint(b, v.Int())
	case reflect.String:
		if v.Len() > 300 {
			fmt.Fprintf(b, "<%d characters>", v.Len())
			return
		}
		fmt.Fprintf(b, "%q", v.String())
	default:
		fmt.Fprint(b, v.Interface())
	}
}

func renderStruct(b *strings.Builder, v reflect.Value) {
	def := reflect.New(v.Type())
	if d, ok := def.Interface().(interface{ Default() }); ok {
		d.Default()
	}
	b.WriteString("{")
	first := true
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if fieldsLeftOut[name] || reflect.DeepEqual(f.Interface(), def.Elem().Field(i).Interface()) {
			continue
		}
		if !first {
			b.WriteString(" ")
		}
		first = false
		b.WriteString(name + ":")
		renderValue(b, f, name)
	}
	b.WriteString("}")
}

func renderList(b *strings.Builder, v reflect.Value, field string) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		raw := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(raw), v)
		switch {
		case field == "TopicID":
			b.WriteString("<id>")
		case field == "RecordBatches" || field == "Records":
			b.WriteString(describeBatches(raw))
		case len(raw) > 64:
			fmt.Fprintf(b, "<%d bytes>", len(raw))
		default:
			fmt.Fprintf(b, "%q", raw)
		}
		return
	}
	if field == "Configs" && v.Len() > 12 {
		fmt.Fprintf(b, "<%d configs>", v.Len())
		return
	}
	var items []string
	for i := range v.Len() {
		var item strings.Builder
		renderValue(&item, v.Index(i), field)
		items = append(items, item.String())
	}
	if unordered[field] {
		slices.Sort(items)
	}
	if n := len(items); n > 12 {
		items = append(items[:12], fmt.Sprintf("… %d in all", n))
	}
	b.WriteString("[" + strings.Join(items, " ") + "]")
}

// unordered are the lists in which Kafka's order is that of a hash table.
var unordered = map[string]bool{"Topics": true, "Configs": true, "Groups": true}

func errorName(code int16) string {
	if code == 0 {
		return "NONE"
	}
	if e := kerr.TypedErrorForCode(code); e != nil {
		return fmt.Sprintf("%s(%d)", e.Message, code)
	}
	return fmt.Sprintf("error %d", code)
}

var (
	uuids    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	stamps   = regexp.MustCompile(`\b1[789]\d{11}\b`)
	longText = regexp.MustCompile(`a{40,}`)
	ports    = regexp.MustCompile(`(Port:)\d+`)
	lowest   = regexp.MustCompile(`-92233702\d{11}\b`)
	topicIDs = regexp.MustCompile(`ID [A-Za-z0-9_-]{22}\b`)
)

// scrub hides what differs from run to run.
func scrub(s string) string {
	s = uuids.ReplaceAllString(s, "<uuid>")
	s = stamps.ReplaceAllString(s, "<now>")
	s = lowest.ReplaceAllString(s, "<the lowest>")
	s = longText.ReplaceAllString(s, "<aaaa…>")
	s = topicIDs.ReplaceAllString(s, "ID <id>")
	return ports.ReplaceAllString(s, "${1}<port>")
}

// describeBatches names the parts of each batch header in raw that a broker may change.
func describeBatches(raw []byte) string {
	if raw == nil {
		return "null"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%d bytes", len(raw))
	for len(raw) >= 12 {
		var rb kmsg.RecordBatch
		n := int(int32(be32(raw[8:]))) + 12
		if n > len(raw) {
			fmt.Fprintf(&b, "; cut batch at offset %d: %d of %d bytes", be64(raw), len(raw), n)
			break
		}
		if err := rb.ReadFrom(raw[:n]); err != nil {
			fmt.Fprintf(&b, "; %v", err)
			break
		}
		fmt.Fprintf(&b, "; batch %d..%d epoch %d attrs %#x records %d firstTs %s maxTs %s producer %d/%d/%d",
			rb.FirstOffset, rb.FirstOffset+int64(rb.LastOffsetDelta), rb.PartitionLeaderEpoch, uint16(rb.Attributes),
			rb.NumRecords, stamp(rb.FirstTimestamp), stamp(rb.MaxTimestamp), rb.ProducerID, rb.ProducerEpoch, rb.FirstSequence)
		raw = raw[n:]
	}
	b.WriteString(">")
	return b.String()
}

func stamp(ms int64) string {
	if d := time.Since(time.UnixMilli(ms)); d < time.Minute && d > -time.Minute {
		return "<now>"
	}
	return fmt.Sprint(ms)
}

func be32(p []byte) uint32 {
	return uint32(p[0])<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3])
}

func be64(p []byte) int64 { return int64(be32(p))<<32 | int64(be32(p[4:])) }
