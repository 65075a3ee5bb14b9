// Package batch reads and writes Kafka's record batch of magic 2, as a view over bytes that somebody else holds.
//
// A batch that a producer sent travels through Leat as the bytes it arrived in: it is checked once (Validate), referenced,
// uploaded, and patched when it is read. This package must never copy those bytes unless its name says so (Recompress,
// Builder), never trust a length it reads from them, never hold a whole decompressed batch in memory, and never know
// where the bytes come from or go to: it has no idea of sockets, topics, objects or offsets beyond the batch's own.
//
// The layout, all integers big endian (Kafka protocol guide, "Record Batch"):
//
//	 0                             8           12            16 17         21      23
//	+-----------------------------+-----------+-------------+--+-----------+-------+
//	| base offset i64             | length i32| leader epoch|2 | crc32c u32|attrs  |
//	+-----------------------------+-----------+-------------+--+-----------+-------+
//	23           27                    35                   43                   51
//	+------------+---------------------+--------------------+--------------------+
//	| last offset| base timestamp i64  | max timestamp i64  | producer id i64    |
//	| delta i32  |                     |                    |                    |
//	+------------+---------------------+--------------------+--------------------+
//	51      53           57           61
//	+-------+------------+------------+------------------------------------------+
//	| epoch | base       | count of   | records, compressed together             |
//	| i16   | sequence   | records i32| if the attributes say so                 |
//	+-------+------------+------------+------------------------------------------+
//
// Length counts what follows it, so a batch has 12 + length bytes. The checksum covers everything from the attributes on: base
// offset and leader epoch lie outside of it and may be patched at any time, by Patch.
//
// Attributes: bits 0–2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon, rest unused.
//
// A record, its integers zigzag varints:
//
//	length | attributes i8 | timestamp delta | offset delta | key length | key | value length | value | count | headers
//	header: key length | key | value length | value           (a length of −1 is null; a header's key is never null)
package batch
