// Package etcdproc runs a real etcd of one or more members, each a process of its own, for tests, demos and the chaos run.
//
// It must never be used to keep anything: its folder belongs to whoever starts it, and nobody is asked who he is unless the
// test arranges that. It listens on 127.0.0.1 only. The binary is .tools/etcd beside go.mod, which `make tools` builds.
package etcdproc

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leat-stream/leat/localstack/proc"
)

// Options says how Start runs etcd. The zero value is what most tests want: one member, without TLS.
type Options struct {
	Members int // 0 means 1

	// CA, Cert and Key are PEM files. With them clients must use TLS and show a certificate that CA has signed.
	CA, Cert, Key string
}

// Cluster is a running etcd. Its fields are set once; its methods may be called by one goroutine at a time.
type Cluster struct {
	Members []*Member

	options Options
	scheme  string // of client URLs
}

// Start runs etcd over folder dir until Stop, and waits until every member is ready (for proc.Patience in all, or as long as ctx).
// The end of ctx after that does not stop it.
func Start(ctx context.Context, dir string, o Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, proc.Patience) // over all attempts and members: an attempt that has not ended by then is the last
	defer cancel()
	o.Members = max(o.Members, 1)
	for attempt := 1; ; attempt++ { // another process may take a free port first
		c, err := start(ctx, filepath.Join(dir, fmt.Sprintf("etcd-%d", attempt)), o)
		if err == nil || attempt == 3 || ctx.Err() != nil {
			return c, err
		}
	}
}

func start(ctx context.Context, dir string, o Options) (*Cluster, error) {
	c := &Cluster{options: o, scheme: "http"}
	if o.Cert != "" {
		c.scheme = "https"
	}
	for i := range o.Members {
		m := &Member{name: fmt.Sprintf("m%d", i), dir: filepath.Join(dir, fmt.Sprintf("m%d", i)), cluster: c}
		if err := proc.FillAddresses(&m.Address, &m.peer, &m.health); err != nil {
			return nil, err
		}
		c.Members = append(c.Members, m)
	}
	for _, m := range c.Members {
		if err := m.Launch(); err != nil {
			c.Stop()
			return nil, err
		}
	}
	for _, m := range c.Members {
		if err := m.wait(ctx); err != nil {
			c.Stop()
			return nil, err
		}
	}
	return c, nil
}

// URL is what `--journal` takes for a journal below that prefix. TLS parameters are the caller's to add.
func (c *Cluster) URL(prefix string) string {
	scheme := "etcd"
	if c.scheme == "https" {
		scheme = "etcds"
	}
	return scheme + "://" + strings.Join(c.Addresses(), ",") + "/" + strings.TrimPrefix(prefix, "/")
}

// Addresses are host:port of all members, for clients.
func (c *Cluster) Addresses() (all []string) {
	for _, m := range c.Members {
		all = append(all, m.Address)
	}
	return all
}

// Leader answers the member that leads, as the members that run see it; it waits for one as Start does. Not with TLS.
func (c *Cluster) Leader(ctx context.Context) (leads *Member, err error) {
	err = proc.Await(ctx, proc.Patience, func(ctx context.Context) error {
		for _, m := range c.Members {
			id, leader := m.status(ctx)
			if id != "" && id == leader {
				leads = m
				return nil
			}
		}
		return errors.New("etcd has no leader")
	})
	return leads, err
}

// Others are all members but m.
func (c *Cluster) Others(m *Member) []*Member {
	return slices.DeleteFunc(slices.Clone(c.Members), func(other *Member) bool { return other == m })
}

// Stop kills all members and waits for their end. It may be called again.
func (c *Cluster) Stop() {
	for _, m := range c.Members {
		m.Kill()
	}
}
