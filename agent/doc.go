// Package agent is one Leat agent: it puts the parts of a record's journey together, runs them and drains them.
//
//	producer ─► wire ─► api/00_produce ─► produce: accept ► buffer ► seal ► upload ► commit ► ack
//	                                                                         │        │
//	                                               objectstore (bucket) ◄────┘        └─► metadata (journal ► state)
//	                                                     ▲                                     │
//	consumer ─► wire ─► api/01_fetch ──► fetch: locate ◄─┼─────────────────────────────────────┘
//	                                     ► plan ► read ──┴─ cache ► assemble ► answer
//
//	wire         connections and frames           produce  the write path       group   consumer groups
//	api          one file per call of Kafka       fetch    the read path        topics  names, configs, creation
//	batch        record batches as they are sent  topicconfig  what Kafka's topic configs are
//	brokers      the agents and who serves what   peer     agent ⇄ agent           chunks  reading together
//
// An agent owns nothing: what is on its disk is a cache, and any other agent could serve the same request. It must never keep
// anything that the cluster could miss, and never serve on once its session is closed: Live begins anew then.
package agent
