package state

import (
	"fmt"
	"io"
)

// IsShard tells by its first bytes whether b may be a shard of an image: shards have no magic, only a format and a table.
func IsShard(b []byte) bool {
	info, _, err := walkShard(b, anyShard, func(ShardInfo, *reader, []UUID) error { return nil })
	return err == nil && info.Table != 0
}

func anyShard(ShardInfo) error { return nil }

// DumpShard prints the records of one shard of an image, for people.
func DumpShard(w io.Writer, b []byte) error {
	n := 0
	info, ids, err := walkShard(b, anyShard, func(info ShardInfo, r *reader, d []UUID) error {
		n++
		_, err := fmt.Fprintf(w, "  %s\n", describeRecord(info.Table, r, d)) // of an unsound one that it is, and on to the next
		return err
	})
	if err != nil {
		return fmt.Errorf("dump shard: %w", err)
	}
	fmt.Fprintf(w, "shard of table %d, depth %d, number %d, changed by entry %d: %d records, %d ids\n",
		info.Table, info.Depth, info.Number, info.Changed, n, ids)
	return nil
}

func describeRecord(t Table, r *reader, d []UUID) string {
	var text string
	switch t {
	case TableMisc:
		text = fmt.Sprintf("misc %+v", *decodeMisc(r))
	case TableTopics:
		text = fmt.Sprintf("topic %+v", *decodeTopic(r, d))
	case TableConfigs:
		text = fmt.Sprintf("configs %+v", decodeConfigs(r, d))
	case TablePartitions:
		p, found := decodePartition(r, d)
		text = fmt.Sprintf("partition %d of %s: log start %d, %d extents", p.number, p.topic, p.logStart, len(found))
		for i := range p.extents {
			e := &p.extents[i]
			text += fmt.Sprintf("\n    offsets %d to %d: object %+v, %d bytes at %d, max timestamp %d", e.base, e.last, found[i].name, e.len, e.pos, e.maxTimestamp)
		}
	case TableSessions:
		text = fmt.Sprintf("session %+v", *decodeSession(r, d))
	case TableEnded:
		text = fmt.Sprintf("ended session %s", UUID(decodeEnded(r, d)))
	case TableProducers:
		p := decodeProducer(r, d)
		text = fmt.Sprintf("producer %d, last wrote at %d", p.id, p.time)
		for _, q := range p.sequences {
			text += fmt.Sprintf("\n    partition %d of %s: epoch %d, last batches %+v", q.partition, q.topic, q.epoch, q.recent[:min(int(q.n), remembered)])
		}
		if len(p.deleted) > 0 {
			text += fmt.Sprintf("\n    wrote to deleted topics %q", p.deleted)
		}
	case TableClaims:
		text = fmt.Sprintf("claim %+v", decodeClaim(r, d))
	case TableGroups:
		text = fmt.Sprintf("group %+v", decodeGroupRecord(r, d).Group)
	case TableOffsets:
		text = fmt.Sprintf("offsets %+v", *decodeOffsets(r, d))
	default:
		return fmt.Sprintf("record of unknown table %d", t)
	}
	if r.err != nil {
		return fmt.Sprintf("!! %v", r.err)
	}
	return text
}
