package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// results are the values of all rounds, by store and what was measured.
type results map[[2]string][]float64

func (r results) put(store, what string, value float64) {
	key := [2]string{store, what}
	r[key] = append(r[key], value)
}

// add keeps a load's throughput, and its processor time a GiB: that of whoever talks to the store, and MinIO's.
func (r results) add(store, row string, m measured, talker time.Duration) {
	gib := float64(m.bytes) / (1 << 30)
	r.put(store, row+" MB/s", float64(m.bytes)/1e6/m.took.Seconds())
	r.put(store, row+" s/GiB", talker.Seconds()/gib)
	r.put(store, row+" MinIO s/GiB", m.costs.minio.Seconds()/gib)
}

func (r results) median(store, what string) float64 {
	values := slices.Sorted(slices.Values(r[[2]string{store, what}]))
	if len(values) == 0 {
		return 0
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// print writes two tables in Markdown.
func (r results) print(w io.Writer, p plan) {
	fmt.Fprintf(w, "Records of %d bytes, %d partitions, acks=all, one idempotent producer; medians of %d rounds of %s a load; %d CPUs,\n"+
		"shared by agent, MinIO and load generator. CPU is seconds per GiB of record values of the agent, without Leat seconds per\n"+
		"GiB of objects of the driver; and MinIO's own.\n\n", valueSize, partitions, p.rounds, p.length, runtime.NumCPU())
	fmt.Fprintln(w, "| | file: MB/s | CPU | MinIO: MB/s | CPU | MinIO's own CPU |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|")
	row := func(label, name string) {
		fmt.Fprintf(w, "| %s | %.0f | %.1f | %.0f | %.1f | %.1f |\n", label,
			r.median(fileStore, name+" MB/s"), r.median(fileStore, name+" s/GiB"),
			r.median(minioStore, name+" MB/s"), r.median(minioStore, name+" s/GiB"), r.median(minioStore, name+" MinIO s/GiB"))
	}
	for _, l := range loads {
		row(l.name, l.name)
		row(fmt.Sprintf("– the same PUTs without Leat (file: %.0f KiB, MinIO: %.0f KiB an object)",
			r.median(fileStore, "object size, "+l.name), r.median(minioStore, "object size, "+l.name)), rawPrefix+l.name)
	}
	row(consumeWarm, consumeWarm)
	row(consumeCold, consumeCold)
	fmt.Fprintln(w, "\n| | file | MinIO |\n|---|---:|---:|")
	fmt.Fprintf(w, "| acknowledgement at %d records/s, linger 5 ms: p50 / p99 | %.1f / %.1f ms | %.1f / %.1f ms |\n", pace,
		r.median(fileStore, "ack p50"), r.median(fileStore, "ack p99"), r.median(minioStore, "ack p50"), r.median(minioStore, "ack p99"))
	fmt.Fprintf(w, "| peak memory of the agent | %.0f MiB | %.0f MiB |\n", r.median(fileStore, "peak memory"), r.median(minioStore, "peak memory"))
}
