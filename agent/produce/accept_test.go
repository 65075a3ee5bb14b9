package produce

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata/state"
)

func TestAcceptAnswersWhatItRefusesAtOnce(t *testing.T) {
	w := newWorld(t)
	p := w.producer() // not running: nothing can be committed
	broken := records(t, "x", 1, batch.Options{})
	broken[len(broken)-1] ^= 1
	before := errors.New("found out before")
	producer := func(id int64, epoch int16, sequence int32) batch.Options {
		return batch.Options{Producer: &batch.Producer{ID: id, Epoch: epoch, BaseSequence: sequence}}
	}
	tests := map[string]struct {
		part Part
		is   error
		kind batch.Kind
	}{
		"told so":          {part: Part{Err: before, Records: records(t, "x", 1, batch.Options{})}, is: before},
		"checksum":         {part: part(a0, broken), kind: batch.Corrupt},
		"two batches":      {part: part(a0, append(records(t, "x", 1, batch.Options{}), records(t, "y", 1, batch.Options{})...)), kind: batch.InvalidRecord},
		"null records":     {part: part(a0, nil), kind: batch.InvalidRecord},
		"transaction":      {part: part(a0, records(t, "x", 1, batch.Options{Producer: &batch.Producer{ID: 1, Transactional: true}})), is: ErrTransactional},
		"control":          {part: part(a0, batch.Marker(0, 1, 0, true, 0, 0)), is: ErrTransactional},
		"larger segment":   {part: inSegments(part(a0, records(t, "x", 1, batch.Options{})), 60), is: ErrLargerThanSegment},
		"negative epoch":   {part: part(a0, records(t, "x", 1, producer(7, -1, 0))), kind: batch.InvalidRecord},
		"negative number":  {part: part(a0, records(t, "x", 1, producer(7, 0, -1))), kind: batch.InvalidRecord},
		"grown by gzip":    {part: recompressed(part(a0, records(t, "x", 1, batch.Options{})), batch.Gzip, 80), kind: batch.TooLarge},
		"grown over segm.": {part: inSegments(recompressed(part(a0, records(t, "x", 1, batch.Options{})), batch.Gzip, 0), 80), is: ErrLargerThanSegment},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pending, err := p.Accept(t.Context(), []Part{tt.part})
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-pending.Done():
			default:
				t.Fatal("not answered at once")
			}
			got := outcome(t, pending)
			if tt.is != nil && !errors.Is(got.Err, tt.is) || tt.kind != 0 && batch.KindOf(got.Err) != tt.kind {
				t.Errorf("%v", got.Err)
			}
			if got.Err == nil || got.Base != -1 || got.LogStart != -1 || got.AppendTime != -1 {
				t.Errorf("%+v", got)
			}
		})
	}
	if bytes, _, _ := p.buf.look(); bytes != 0 {
		t.Errorf("%d bytes of refused batches are buffered", bytes)
	}
	if pending, err := p.Accept(t.Context(), nil); err != nil || len(pending.Done()) != 0 {
		t.Error(err)
	} else if got, err := pending.Wait(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("a request without partitions: %v, %v", got, err)
	}
}

func inSegments(p Part, most int64) Part {
	p.SegmentBytes = most
	return p
}

func recompressed(p Part, c batch.Codec, most int64) Part {
	p.Recompress, p.Codec, p.Rules.MaxBytes = true, c, most
	return p
}

func TestOneBadBatchDoesNotHarmItsNeighbours(t *testing.T) {
	w := newWorld(t)
	p := w.producer()
	run(t, p)
	bad := part(a0, records(t, "bad", 1, batch.Options{}))
	bad.Records[20] ^= 1
	pending, err := p.Accept(t.Context(), []Part{
		part(a0, records(t, "one", 2, batch.Options{})), bad, part(a1, records(t, "two", 1, batch.Options{})),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := pending.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Err != nil || got[0].Base != 0 || batch.KindOf(got[1].Err) != batch.Corrupt || got[2].Err != nil {
		t.Errorf("%+v", got)
	}
	if r := w.read(a0); len(r) != 2 || r[1] != "one/1" {
		t.Error(r)
	}
}

func TestAppendTimeIsStampedAndAnswered(t *testing.T) {
	w := newWorld(t)
	now := time.UnixMilli(1_700_000_000_123)
	p := w.producer(func(c *Config) { c.Clock = func() time.Time { return now } })
	run(t, p)
	stamped := part(a0, records(t, "x", 3, batch.Options{}))
	stamped.Rules.TimestampType = batch.LogAppendTime
	unknown := part(state.TopicPartition{Topic: topicA, Partition: 99}, records(t, "y", 1, batch.Options{}))
	unknown.Rules.TimestampType = batch.LogAppendTime
	pending, err := p.Accept(t.Context(), []Part{stamped, unknown})
	if err != nil {
		t.Fatal(err)
	}
	got, err := pending.Wait(t.Context())
	if err != nil || got[0].AppendTime != now.UnixMilli() || got[0].Code != state.CodeOK {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[1].Code != state.CodeUnknownTopic || got[1].AppendTime != -1 || got[1].Base != -1 || got[1].LogStart != -1 {
		t.Errorf("refused by the metadata: %+v", got[1])
	}
	w.mu.Lock()
	view, _ := w.st.Reader().View(a0, 0, 1<<20)
	w.mu.Unlock()
	if view.Extents[0].MaxTimestamp != now.UnixMilli() {
		t.Errorf("the state has max timestamp %d", view.Extents[0].MaxTimestamp)
	}
	stored := storedBatch(t, w, view.Extents[0])
	if stored.MaxTimestamp() != now.UnixMilli() || stored.BaseTimestamp() != 1000 || stored.CRC() != stored.ComputeCRC() ||
		stored.Attributes().TimestampType() != batch.LogAppendTime {
		t.Errorf("stored: max %d, first %d", stored.MaxTimestamp(), stored.BaseTimestamp())
	}
}

func storedBatch(t testing.TB, w *world, e state.Extent) batch.View {
	t.Helper()
	object := w.object(w.keys.Data(nameOf(e.Object)))
	v, err := batch.At(object[e.Pos : e.Pos+e.Len])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestBrokerSideCompressionKeepsTheRecords(t *testing.T) {
	w := newWorld(t)
	p := w.producer()
	run(t, p)
	b := batch.NewBuilder(batch.Options{Producer: &batch.Producer{ID: 5, BaseSequence: 0}})
	for range 100 {
		b.Append(1, nil, bytes.Repeat([]byte("z"), 100))
	}
	plain, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	size := len(plain)
	pending, err := p.Accept(t.Context(), []Part{recompressed(part(a0, plain), batch.Zstd, 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, pending); got.Err != nil || got.Code != state.CodeOK {
		t.Fatalf("%+v", got)
	}
	if got := w.read(a0); len(got) != 100 || got[99] != string(bytes.Repeat([]byte("z"), 100)) {
		t.Errorf("%d records", len(got))
	}
	w.mu.Lock()
	view, _ := w.st.Reader().View(a0, 0, 1<<20)
	w.mu.Unlock()
	v := storedBatch(t, w, view.Extents[0])
	if v.Attributes().Codec() != batch.Zstd || len(v) >= size || v.ProducerID() != 5 {
		t.Errorf("stored as %s in %d of %d bytes, producer %d", v.Attributes().Codec(), len(v), size, v.ProducerID())
	}
}

func TestAnIDBelowNoneIsNoProducer(t *testing.T) {
	w := newWorld(t)
	p := w.producer()
	run(t, p)
	for i := range 2 {
		o := batch.Options{Producer: &batch.Producer{ID: -7, Epoch: 3, BaseSequence: 9}}
		pending, err := p.Accept(t.Context(), []Part{part(a0, records(t, "x", 1, o))})
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(t, pending); got.Err != nil || got.Base != int64(i) {
			t.Errorf("%+v", got)
		}
	}
}

// TestRunsKeepTheAcceptIndexOfWhatMayBeginASequence is rule R6: such a batch is never said to be accepted earlier or later than it was.
func TestRunsKeepTheAcceptIndexOfWhatMayBeginASequence(t *testing.T) {
	plain := state.Batch{Len: 1, Count: 1, ProducerID: -1, FirstSequence: -1}
	begin := state.Batch{Len: 1, Count: 1, ProducerID: 1, FirstSequence: 0}
	next := state.Batch{Len: 1, Count: 1, ProducerID: 1, FirstSequence: 5}
	it := func(b state.Batch, accept uint64) item {
		return item{tp: a0, bytes: []byte{0}, batch: b, accept: accept}
	}
	elsewhere := it(plain, 5)
	elsewhere.tp = a1
	tests := map[string]struct {
		items []item
		runs  []uint64 // accept indexes
	}{
		"one index":                       {[]item{it(plain, 5), it(begin, 5), it(next, 5)}, []uint64{5}},
		"later ones join":                 {[]item{it(plain, 5), it(next, 6), it(plain, 9)}, []uint64{5}},
		"a later beginning does not":      {[]item{it(plain, 5), it(begin, 6), it(next, 6)}, []uint64{5, 6}},
		"an earlier beginning does not":   {[]item{it(plain, 5), it(begin, 4)}, []uint64{5, 4}},
		"nothing lowers a beginning's":    {[]item{it(begin, 5), it(next, 4), it(plain, 4)}, []uint64{5, 4}},
		"a partition has runs of its own": {[]item{it(plain, 5), elsewhere}, []uint64{5, 5}},
	}
	w := newWorld(t)
	p := w.producer()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := p.seal(1, slices.Clone(tt.items))
			var runs []uint64
			batches := 0
			for _, r := range o.runs {
				runs = append(runs, r.AcceptIndex)
				batches += len(r.Batches)
			}
			if o.err != nil || !slices.Equal(runs, tt.runs) || batches != len(tt.items) {
				t.Errorf("runs %v with %d batches, want %v (%v)", runs, batches, tt.runs, o.err)
			}
		})
	}
}
