package state

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into their files")

// TestScripts runs testdata/scripts/*.txt. A script is a row of blocks, each applied as one entry: lines of commands, "----", what it
// printed. After every block the state goes through an image, and what comes back takes its place.
//
//	<session>:<o|c><number> Op Field=value …   o: lane of objects, c: the other; "-" for no session; settled= and time= are the command's
//	fence Session=… Agent=…
//	show                                       prints the state instead of applying an entry
//	Runs=topic/partition:pos^accept[len x count @producer.epoch.sequence !timestamp %attributes, …];…   (without blanks)
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out := runScript(t, string(in))
			if *rewrite {
				if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if out != string(in) {
				t.Errorf("%s prints something else now (-rewrite accepts it):\n%s", file, firstDifference(string(in), out))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := 0; i < len(w) && i < len(g); i++ {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, w[i], g[i])
		}
	}
	return "length differs"
}

func runScript(t *testing.T, in string) string {
	var out strings.Builder
	s := New()
	for _, block := range strings.Split(strings.TrimSpace(in), "\n\n") {
		head, _, _ := strings.Cut(block, "----")
		var e Entry
		var printed string
		show := false
		for _, line := range strings.Split(strings.TrimSpace(head), "\n") {
			switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); {
			case strings.HasPrefix(word, "#"):
			case word == "show":
				show = true
			case word == "fence":
				e.Fence = true
				setFields(t, reflect.ValueOf(&e.Leader).Elem(), rest)
			default:
				e.Commands = append(e.Commands, parseCommand(t, word, rest))
			}
		}
		if show {
			printed = dump(s)
		} else if e.Fence || len(e.Commands) > 0 {
			printed = applyScripted(t, s, e)
			s = throughImage(t, s)
		}
		fmt.Fprintf(&out, "%s\n----\n%s\n", strings.TrimSpace(head), printed)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func applyScripted(t *testing.T, s *State, e Entry) string {
	e.Index = s.index + 1
	if !e.Fence {
		decoded, err := DecodeEntry(e.Index, EncodeEntry(e))
		if err != nil {
			t.Fatal(err)
		}
		e = decoded
	}
	rs, changes, err := s.Apply(e)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	var out strings.Builder
	for _, r := range rs {
		fmt.Fprintln(&out, printResult(r))
	}
	for _, c := range changes {
		fmt.Fprintf(&out, "~ %d %s", c.Index, [...]string{"", "partition", "topic", "group", "session", "all"}[c.Kind])
		switch c.Kind {
		case ChangePartition:
			fmt.Fprintf(&out, " %s/%d", name(c.Topic), c.Partition)
		case ChangeTopic:
			fmt.Fprintf(&out, " %s", name(c.Topic))
		case ChangeGroup:
			fmt.Fprintf(&out, " %q", c.Group)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func printResult(r Result) string {
	out := fmt.Sprintf("%v @%d", r.Code, r.Index)
	if r.Number != 0 {
		out += fmt.Sprintf(" number=%d", r.Number)
	}
	if !r.Topic.IsZero() {
		out += " topic=" + name(r.Topic)
	}
	for _, b := range r.Batches {
		switch {
		case b.Duplicate:
			out += fmt.Sprintf(" dup:%d", b.Base)
		case b.Code == CodeOK:
			out += fmt.Sprintf(" %d", b.Base)
		default:
			out += fmt.Sprintf(" %v", b.Code)
		}
		if b.LogStart > 0 {
			out += fmt.Sprintf("(from %d)", b.LogStart)
		}
	}
	if r.Partitions != nil {
		out += fmt.Sprint(" ", r.Partitions)
	}
	return out
}

// name is the reverse of id.
func name(u UUID) string {
	if b := bytes.TrimRight(u[:], "\x00"); len(b) > 0 {
		return string(b)
	}
	return "-"
}

// throughImage answers the state that comes back from an image, having checked that it is the same.
func throughImage(t testing.TB, s *State) *State {
	t.Helper()
	r := throughRestore(t, s)
	if got, want := dump(r), dump(s); got != want {
		t.Fatalf("restored state differs: %s", firstDifference(want, got))
	}
	return r
}

func throughRestore(t testing.TB, s *State) *State {
	t.Helper()
	image := s.Image()
	h, err := DecodeHeader(image.Header().Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, image.Header()) {
		t.Fatalf("header came back as %+v, was %+v", h, image.Header())
	}
	r, err := Restore(h, func(yield func([]byte, error) bool) {
		for _, encode := range image.Shards() {
			if !yield(encode(), nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parseCommand(t *testing.T, who, rest string) Command {
	var c Command
	if who != "-" {
		session, number, _ := strings.Cut(who, ":")
		c.Session, c.Lane = id(session), LaneOther
		if strings.HasPrefix(number, "o") {
			c.Lane = LaneObjects
		}
		c.Number = uint64(number64(t, number[1:]))
	}
	word, rest, _ := strings.Cut(rest, " ")
	for _, op := range allOps {
		if reflect.TypeOf(op).Name() == word {
			v := reflect.New(reflect.TypeOf(op)).Elem()
			var of []string
			for _, f := range strings.Fields(rest) {
				switch k, value, _ := strings.Cut(f, "="); k {
				case "settled":
					c.Settled = uint64(number64(t, value))
				case "time":
					c.Time = number64(t, value)
				default:
					of = append(of, f)
				}
			}
			setFields(t, v, strings.Join(of, " "))
			c.Op = v.Interface().(Op)
			return c
		}
	}
	t.Fatalf("no op %q", word)
	return c
}

var allOps = []Op{OpenSession{}, CloseSession{}, LeaveSession{}, StepAside{}, RaiseLevel{}, CreateTopic{}, DeleteTopic{}, CreatePartitions{}, AlterConfigs{},
	CommitObject{}, SkipObject{}, AllocateProducerIDs{}, ExpireProducers{}, AdvanceLogStart{}, ClaimGroup{}, WriteGroup{},
	CommitOffsets{}, DeleteGroup{}, ExpireOffsets{}, NoteTrim{}}

func setFields(t *testing.T, v reflect.Value, fields string) {
	for _, f := range strings.Fields(fields) {
		k, value, _ := strings.Cut(f, "=")
		if field := v.FieldByName(k); field.IsValid() {
			setField(t, field, value)
		} else if group := v.FieldByName("Group"); group.IsValid() && group.FieldByName(k).IsValid() {
			setField(t, group.FieldByName(k), value)
		} else {
			t.Fatalf("%v has no field %q", v.Type(), k)
		}
	}
}

func setField(t *testing.T, f reflect.Value, value string) {
	switch f.Interface().(type) {
	case UUID:
		f.Set(reflect.ValueOf(id(value)))
	case string:
		f.SetString(value)
	case []string:
		f.Set(reflect.ValueOf(strings.Split(value, ",")))
	case []Config:
		for _, kv := range strings.Split(value, ",") {
			k, v, _ := strings.Cut(kv, ":")
			f.Set(reflect.Append(f, reflect.ValueOf(Config{k, v})))
		}
	case []Listener:
		for _, kv := range strings.Split(value, ",") {
			k, v, _ := strings.Cut(kv, "@")
			f.Set(reflect.Append(f, reflect.ValueOf(Listener{k, v})))
		}
	case []Run:
		for _, r := range strings.Split(value, ";") {
			f.Set(reflect.Append(f, reflect.ValueOf(parseRun(t, r))))
		}
	case []Member:
		for _, m := range strings.Split(value, ",") {
			member, instance, _ := strings.Cut(m, "/")
			f.Set(reflect.Append(f, reflect.ValueOf(Member{ID: member, Instance: instance, Assignment: []byte("assignment"),
				Protocols: []Protocol{{"range", []byte("metadata")}}})))
		}
	case []OffsetCommit:
		for _, o := range strings.Split(value, ",") {
			tp, offset, _ := strings.Cut(o, ":")
			f.Set(reflect.Append(f, reflect.ValueOf(OffsetCommit{TopicPartition: parsePartition(t, tp), Offset: number64(t, offset),
				LeaderEpoch: -1, Metadata: "m"})))
		}
	case bool:
		f.SetBool(value == "true")
	default:
		if f.CanUint() {
			f.SetUint(uint64(number64(t, value)))
		} else {
			f.SetInt(number64(t, value))
		}
	}
}

func parsePartition(t *testing.T, s string) TopicPartition {
	topic, n, _ := strings.Cut(s, "/")
	return TopicPartition{id(topic), int32(number64(t, n))}
}

func parseRun(t *testing.T, s string) (r Run) {
	head, batches, ok := strings.Cut(strings.TrimSuffix(s, "]"), "[")
	tp, at, _ := strings.Cut(head, ":")
	pos, accept, _ := strings.Cut(at, "^")
	p := parsePartition(t, tp)
	r = Run{Topic: p.Topic, Partition: p.Partition, Pos: number64(t, pos), AcceptIndex: uint64(number64(t, "0"+accept))}
	if !ok {
		return r
	}
	for _, s := range strings.Split(batches, ",") {
		b := Batch{ProducerID: -1}
		s, attributes, _ := strings.Cut(s, "%")
		s, timestamp, timed := strings.Cut(s, "!")
		s, producer, idempotent := strings.Cut(s, "@")
		length, count, _ := strings.Cut(s, "x")
		b.Attributes, b.MaxTimestamp = int16(number64(t, "0"+attributes)), -1
		if timed {
			b.MaxTimestamp = number64(t, timestamp)
		}
		if idempotent {
			p := strings.Split(producer, ".")
			b.ProducerID, b.ProducerEpoch, b.FirstSequence = number64(t, p[0]), int16(number64(t, p[1])), int32(number64(t, p[2]))
		}
		b.Len, b.Count = int32(number64(t, length)), int32(number64(t, count))
		r.Batches = append(r.Batches, b)
	}
	return r
}

func number64(t *testing.T, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dump prints everything that a Reader answers, and what only Apply sees.
func dump(s *State) string {
	r := s.Reader()
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	leader, fence := r.Leader()
	steady, latest := r.Time()
	p("index %d time %d steady %d level %d trimmed %d", r.Index(), latest, steady, r.StateLevel(), r.TrimmedThrough())
	if fence > 0 {
		p("leader %s %s since %d fences %v", leader.Agent, leader.Address, fence, s.misc.fences)
	}
	removed := ""
	if s.misc.offsetsRemoved > 0 {
		removed = fmt.Sprint(" offsets removed ", s.misc.offsetsRemoved)
	}
	p("nodes %v names %v next producer %d expired %d"+removed, s.misc.nodes, s.misc.names, s.misc.nextProducer, s.misc.expired)
	for t := range r.Topics() {
		p("topic %s %s x%d rf=%d created=%d %v@%d", name(t.ID), t.Name, t.Partitions, t.ReplicationFactor, t.Created, t.Configs,
			r.ConfigVersion(ResourceTopic, t.ID, ""))
		for n := range t.Partitions {
			tp := TopicPartition{t.ID, n}
			v, _ := r.View(tp, 0, 0)
			v, _ = r.View(tp, v.LogStart, 1<<62)
			if v.Watermark == 0 {
				continue
			}
			p("  %s/%d %d..%d %d bytes", name(t.ID), n, v.LogStart, v.Watermark, r.Size(tp))
			for _, e := range v.Extents {
				p("    %d-%d in %s:%d.%d +%d %d of %d time %d", e.Base, e.Last, name(e.Object.Owner), e.Object.Number, e.Object.Attempt, e.Pos,
					e.Len, e.ObjectSize, e.MaxTimestamp)
			}
		}
	}
	for x := range s.sessions.trie.all() {
		reach := ""
		if x.Peer != "" || len(x.Listeners) > 0 || x.Leaving {
			reach = fmt.Sprintf(" peer=%q listeners=%v leaving=%v", x.Peer, x.Listeners, x.Leaving)
			if x.Aside {
				reach += " aside=true"
			}
		}
		p("session %s node=%d agent=%q opened=%d level=%d closed=%v objects=%d"+reach, name(x.ID), x.NodeID, x.Agent, x.Opened, x.Level, x.Closed,
			s.objects.owners[x.ID])
		for i := range x.lanes {
			l := &x.lanes[i]
			p("  lane %d: settled %d decided %d", i+1, l.settled, l.decided())
			for _, o := range l.outcomes {
				p("    %s", printResult(o.result))
			}
		}
	}
	for x := range s.sessions.ended.all() {
		p("ended %s", name(UUID(x)))
	}
	for x := range s.producers.trie.all() {
		p("producer %d wrote at %d", x.id, x.time)
		for _, q := range x.sequences {
			p("  %s/%d epoch %d %v", name(q.topic), q.partition, q.epoch, q.recent[:q.n])
		}
		if len(x.deleted) > 0 {
			p("  deleted %q", x.deleted)
		}
	}
	claims := []string{}
	for c := range s.groups.claims.all() {
		claims = append(claims, fmt.Sprintf("claim %q by %s id %d", c.group, name(c.session), c.id))
	}
	slices.Sort(claims)
	p("%s", strings.Join(claims, "\n"))
	for g := range r.Groups() {
		x, _ := r.Group(g)
		p("group %+v", x)
		for i, o := range r.Offsets(g) {
			by := ""
			if kept, _ := s.offsets.get(g); kept.list[i].index > 0 {
				by = fmt.Sprintf(" @%d by %d", kept.list[i].index, kept.list[i].by)
			}
			p("  %s/%d at %d %q %d"+by, name(o.Topic), o.Partition, o.Offset, o.Metadata, o.Committed)
		}
	}
	return out.String()
}
