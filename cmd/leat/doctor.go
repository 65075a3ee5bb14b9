package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-stream/leat/agent"
	"github.com/leat-stream/leat/metadata/journal/etcd"
	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check bucket, conditional writes, clock and addresses, and say what to do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, _, err := load(cmd.Flags())
			if err != nil {
				return err
			}
			d := doctor{out: cmd.OutOrStdout()}
			d.examine(cmd.Context(), o)
			if d.bad > 0 {
				return fmt.Errorf("%d of %d checks failed", d.bad, d.checks)
			}
			return nil
		},
	}
	addFlags(cmd.Flags())
	return cmd
}

// doctor prints one line a check, and below a failed one what to do.
type doctor struct {
	out         io.Writer
	checks, bad int
}

func (d *doctor) ok(check, finding string) {
	d.checks++
	fmt.Fprintf(d.out, "ok    %-18s %s\n", check, finding)
}

func (d *doctor) fail(check string, err error, advice string) {
	d.checks++
	d.bad++
	fmt.Fprintf(d.out, "FAIL  %-18s %s\n", check, oneLine(err))
	if advice != "" {
		fmt.Fprintf(d.out, "      %-18s → %s\n", "", advice)
	}
}

func (d *doctor) warn(check, finding, advice string) {
	d.checks++
	fmt.Fprintf(d.out, "warn  %-18s %s\n      %-18s → %s\n", check, finding, "", advice)
}

func (d *doctor) examine(ctx context.Context, o *options) {
	if err := o.agent.Validate(); err != nil {
		d.fail("settings", err, "see `leat config` for every value and where it came from")
	} else {
		d.ok("settings", "valid")
	}
	u, err := storeurl.Parse(o.agent.Store)
	if err != nil {
		d.fail("store", err, "mend --store")
		return
	}
	d.journal(ctx, o, u.Kind)
	keys, err := objectstore.NewKeys(o.agent.Cluster)
	if err != nil {
		d.fail("cluster", err, "mend --cluster")
		return
	}
	store, err := u.Open(ctx)
	if err != nil {
		d.fail("bucket", err, advice(err))
		return
	}
	if c, ok := store.(io.Closer); ok {
		defer c.Close()
	}
	d.bucket(ctx, store, keys)
	d.clock(ctx, store, keys)
	for _, l := range o.agent.Wire.Listeners {
		address := l.Advertised
		if address == "" {
			address = l.Address
		}
		d.address(ctx, l.Name, l.Address, address)
	}
}

func (d *doctor) journal(ctx context.Context, o *options, kind storeurl.Kind) {
	journal := o.agent.Journal
	if journal == "" {
		var err error
		if journal, err = agent.DefaultJournal(o.agent.Store); err != nil {
			d.fail("journal", err, "mend --store")
			return
		}
	}
	if err := agent.CheckJournal(journal, kind); err != nil {
		d.fail("journal", err, "mend --journal, or leave it out for the default")
		return
	}
	if strings.HasPrefix(journal, "etcd") {
		began := time.Now()
		if err := etcd.Probe(ctx, journal); err != nil {
			d.fail("journal", err, "check the addresses, TLS files, "+etcd.EnvUser+" and "+etcd.EnvPassword+", and that a quorum of etcd runs")
			return
		}
		journal += fmt.Sprintf(" answers (%s)", time.Since(began).Round(time.Millisecond))
	}
	d.ok("journal", journal)
}

// bucket tries everything that Leat needs of a store.
func (d *doctor) bucket(ctx context.Context, store objectstore.Store, keys objectstore.Keys) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	if err := objectstore.Probe(ctx, store, keys); err != nil {
		d.fail("bucket", err, advice(err))
		return
	}
	d.ok("bucket", fmt.Sprintf("reads, writes, deletes and conditional writes work (%s)", time.Since(began).Round(time.Millisecond)))
}

// advice tells what usually helps.
func advice(err error) string {
	switch {
	case errors.Is(err, objectstore.ErrNoBucket):
		return "create the bucket, or mend its name in --store"
	case errors.Is(err, objectstore.ErrClockSkew):
		return "set this machine's clock: start an NTP client"
	case errors.Is(err, objectstore.ErrDenied):
		return "check the credentials (AWS_ACCESS_KEY_ID …, profile, role) and that they allow s3:GetObject, PutObject, DeleteObject and ListBucket on the prefix"
	case errors.Is(err, objectstore.ErrUnsupported):
		return "use a store with conditional writes: AWS S3, MinIO, versitygw, Cloudflare R2, …"
	case errors.Is(err, context.DeadlineExceeded):
		return "check endpoint, network and firewall: the store did not answer"
	}
	return "check endpoint, region and network"
}

// clock compares this machine's clock with the store's. Leat's safety rests on no clock, but signatures are refused when they
// differ by minutes, and timestamps that the broker gives come from here.
func (d *doctor) clock(ctx context.Context, store objectstore.Store, keys objectstore.Keys) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	key := keys.Probe(random)
	before := time.Now()
	if _, err := store.Put(ctx, key, objectstore.NewBody([]byte("clock")), objectstore.IfAbsent()); err != nil {
		return // the bucket check has told why
	}
	after := time.Now()
	defer func() { _ = store.Delete(context.WithoutCancel(ctx), key) }()
	for info, err := range store.List(ctx, key, "") {
		if err != nil || info.Key != key {
			return
		}
		skew := time.Duration(0)
		if early := before.Truncate(time.Second).Sub(info.Modified); early > 0 {
			skew = early
		} else if late := info.Modified.Sub(after); late > 0 {
			skew = -late
		}
		if skew.Abs() > 5*time.Second {
			d.warn("clock", fmt.Sprintf("this machine is %s ahead of the store", skew.Round(time.Second)), "start an NTP client on this machine")
			return
		}
		d.ok("clock", "agrees with the store's")
		return
	}
}

// address checks that a listener's address can be bound or is served, and that clients could reach what they are told.
func (d *doctor) address(ctx context.Context, name, bound, advertised string) {
	check := "listener " + name
	host, port, err := net.SplitHostPort(advertised)
	if err != nil {
		d.fail(check, err, "mend --advertise")
		return
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		d.fail(check, err, "clients that look up "+host+" must find this agent: mend --advertise or the DNS")
		return
	}
	for _, ip := range ips {
		if ip.IP.IsUnspecified() {
			d.fail(check, fmt.Errorf("clients would be told %s, which is no address", advertised), "name what clients can reach with --advertise "+name+"=HOST:PORT")
			return
		}
	}
	dialer := net.Dialer{Timeout: 2 * time.Second}
	if c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, port)); err == nil {
		_ = c.Close()
		d.ok(check, advertised+" answers")
		return
	}
	l, err := net.Listen("tcp", bound)
	if err != nil {
		d.fail(check, err, "something else has the port, or the address is not this machine's: mend --listen")
		return
	}
	_ = l.Close()
	if ips[0].IP.IsLoopback() {
		d.warn(check, advertised+" is free, and only clients on this machine can reach it", "fine on a laptop; elsewhere give --listen and --advertise an address of the network")
		return
	}
	d.ok(check, bound+" is free; clients will be told "+advertised)
}
