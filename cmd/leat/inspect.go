package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/replica/snapshot"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/segment"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

func inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect OBJECT",
		Short: "Print an annotated dump of a segment, journal entry, head or snapshot",
		Long: "Print an annotated dump of a segment, journal entry, head or snapshot.\n" +
			"OBJECT is a local file, or the key of an object in --store, as leat/head or leat/journal/00000000000000000001.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, _, err := load(cmd.Flags())
			if err != nil {
				return err
			}
			b, err := readObject(cmd.Context(), o.agent.Store, args[0])
			if err != nil {
				return err
			}
			return dump(cmd.OutOrStdout(), b)
		},
	}
	addFlags(cmd.Flags())
	return cmd
}

// readObject reads a local file, or else an object of the store.
func readObject(ctx context.Context, store, name string) ([]byte, error) {
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
		return os.ReadFile(name)
	}
	s, err := storeurl.Open(ctx, store)
	if err != nil {
		return nil, err
	}
	if c, ok := s.(io.Closer); ok {
		defer c.Close()
	}
	object, err := s.Get(ctx, name, objectstore.Range{})
	if err != nil {
		return nil, err
	}
	defer object.Reader.Close()
	return io.ReadAll(object.Reader)
}

// dump tells by the first bytes what b is.
func dump(w io.Writer, b []byte) error {
	switch {
	case segment.Is(b):
		return segment.Dump(w, b, dumpRun)
	case journal.Is(b):
		return journal.Dump(w, b, dumpEntry)
	case snapshot.IsManifest(b):
		return snapshot.DumpManifest(w, b)
	case state.IsShard(b):
		return state.DumpShard(w, b)
	}
	return errors.New("neither a segment, nor a journal entry or head, nor a part of a snapshot")
}

// dumpRun prints the batches of a run.
func dumpRun(w io.Writer, position int64, b []byte) error {
	return batch.Split(b, func(at int, v batch.View) bool {
		fits := "fits"
		if v.CRC() != v.ComputeCRC() {
			fits = "DOES NOT FIT"
		}
		fmt.Fprintf(w, "%10d  batch of %d bytes: %d records, %s, max timestamp %d, producer %d epoch %d sequence %d, crc %08x %s\n",
			position+int64(at), v.Length(), v.Count(), v.Attributes().Codec(), v.MaxTimestamp(), v.ProducerID(), v.ProducerEpoch(),
			v.BaseSequence(), v.CRC(), fits)
		return true
	})
}

// dumpEntry prints what a journal entry says to the state.
func dumpEntry(w io.Writer, body []byte) {
	if e, err := state.DecodeEntry(0, body); err == nil {
		if e.Check.Index != 0 {
			fmt.Fprintf(w, "        state hash after entry %d: %016x\n", e.Check.Index, e.Check.Hash)
		}
		for i, c := range e.Commands {
			fmt.Fprintf(w, "        command %d: session %s lane %d number %d settled %d time %d\n", i, c.Session, c.Lane, c.Number, c.Settled, c.Time)
			fmt.Fprintf(w, "          %s %+v\n", strings.TrimPrefix(fmt.Sprintf("%T", c.Op), "state."), c.Op)
		}
		return
	}
	e, err := state.DecodeLeader(0, body)
	if err != nil {
		fmt.Fprintf(w, "        %d bytes that are neither commands nor a leader: %v\n", len(body), err)
		return
	}
	fmt.Fprintf(w, "        leader: session %s, agent %q, address %q, time %d\n", e.Leader.Session, e.Leader.Agent, e.Leader.Address, e.Leader.Time)
}
