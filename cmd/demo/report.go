package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leat-stream/leat/cmd/agentproc"
	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

// megabytes a second.
func rate(bytes int64, took time.Duration) float64 { return float64(bytes) / 1e6 / took.Seconds() }

func reportWritten(writers []*writer, took time.Duration) {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "written to\trecords\tMB of text\tMB sent\tseconds\tMB/s\t")
	var records, bytes, sent int64
	row := func(topic string, records, bytes, sent int64, took time.Duration) {
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n", topic, records, float64(bytes)/1e6, float64(sent)/1e6, took.Seconds(), rate(bytes, took))
	}
	for _, c := range writers {
		row(c.topic, c.records, c.bytes, c.sent, c.took)
		records, bytes, sent = records+c.records, bytes+c.bytes, sent+c.sent
	}
	row("all at once", records, bytes, sent, took)
	_ = w.Flush() // to standard output
}

func reportRead(r *reader, took time.Duration, when string) {
	fmt.Printf("group %s read %d records, %.1f MB, %s, members: %d, in %.1f s, %.1f MB/s: every byte, in order, once\n",
		r.group, r.read.records, float64(r.read.bytes)/1e6, when, r.read.members, took.Seconds(), rate(r.read.bytes, took))
}

// reportAgent prints what the agent counted until all was followed, and in the whole.
func reportAgent(ctx context.Context, agent *agentproc.Agent, followed agentproc.Metrics) error {
	all, err := agent.Metrics(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("the agent committed %.0f objects in %.1f CPU seconds; requests to MinIO:\n",
		all.Sum("leat_produce_objects_total"), all.Sum("process_cpu_seconds_total"))
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "requests\tput\tget\tdelete\tlist\tMB put\tMB got\t")
	for _, phase := range []struct {
		name string
		m    agentproc.Metrics
	}{{"while written", followed}, {"read again", all.Sub(followed)}} {
		fmt.Fprint(w, phase.name, "\t")
		for _, operation := range []string{"put", "get", "delete", "list"} {
			fmt.Fprintf(w, "%.0f\t", phase.m.Sum("leat_objectstore_requests_total", `operation="`+operation+`"`))
		}
		for _, operation := range []string{"put", "get"} {
			fmt.Fprintf(w, "%.1f\t", phase.m.Sum("leat_objectstore_bytes_total", `operation="`+operation+`"`)/1e6)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// objects counts what lies in the bucket now, by the first word of the name below the cluster's.
func objects(ctx context.Context, server *minioproc.Server) error {
	if err := server.Setenv(); err != nil {
		return err
	}
	store, err := storeurl.Open(ctx, server.S3URL("demo"))
	if err != nil {
		return err
	}
	count, bytes := map[string]int{}, map[string]int64{}
	for info, err := range store.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("list the bucket: %w", err)
		}
		kind := "other"
		if parts := strings.Split(info.Key, "/"); len(parts) > 1 {
			kind = parts[1]
		}
		count[kind]++
		bytes[kind] += info.Size
	}
	fmt.Print("the bucket holds")
	for i, kind := range []string{"data", "journal", "snapshot", "head", "other"} {
		if i > 0 {
			fmt.Print(",")
		}
		fmt.Printf(" %d %s (%.1f MB)", count[kind], kind, float64(bytes[kind])/1e6)
	}
	fmt.Println(" objects")
	return nil
}
