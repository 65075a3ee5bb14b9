package state

// SizeHint estimates the encoded bytes of an op, generously, so that callers can bound what goes into one journal entry
// without encoding it. Only object commits, groups and offsets are ever large.
func SizeHint(op Op) int {
	const fixed = 64
	size := fixed
	switch op := op.(type) {
	case CommitObject:
		for _, run := range op.Runs {
			size += fixed + 40*len(run.Batches)
		}
	case WriteGroup:
		size += len(op.Group.ID) + len(op.Group.ProtocolType) + len(op.Group.Protocol) + len(op.Group.Leader)
		for _, m := range op.Group.Members {
			size += fixed + len(m.ID) + len(m.Instance) + len(m.ClientID) + len(m.ClientHost) + len(m.Assignment)
			for _, p := range m.Protocols {
				size += 16 + len(p.Name) + len(p.Metadata)
			}
		}
	case CommitOffsets:
		size += len(op.Group) + len(op.Member) + len(op.Instance)
		for _, o := range op.Offsets {
			size += fixed + len(o.Metadata)
		}
	case CreateTopic:
		size += len(op.Name)
		for _, c := range op.Configs {
			size += 16 + len(c.Name) + len(c.Value)
		}
	case AlterConfigs:
		for _, c := range op.Set {
			size += 16 + len(c.Name) + len(c.Value)
		}
		for _, name := range op.Remove {
			size += 16 + len(name)
		}
	case ClaimGroup:
		size += len(op.Group)
	case DeleteGroup:
		size += len(op.Group)
	case OpenSession:
		size += len(op.Agent) + len(op.Address) + len(op.Zone) + len(op.Peer)
		for _, l := range op.Listeners {
			size += 16 + len(l.Name) + len(l.Address)
		}
	}
	return size
}
