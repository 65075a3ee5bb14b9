package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/leat-stream/leat/cmd/chaos/door"
	"github.com/leat-stream/leat/localstack/proc"
	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
)

// bed is everything that runs beside the clients: MinIO, toxiproxy, etcd if asked for, a balancer if asked for,
// agents with a door before each.
type bed struct {
	plan  plan
	dir   string
	notes *notebook

	minio    *minioproc.Server
	toxics   *toxiproxy
	etcd     *etcdproc.Cluster // nil with the journal in the bucket
	balancer *balancer         // nil without
	slots    []*slot           // the last one is the spare: it runs only while scaled out
}

// lay starts a bed below dir and waits until its agents serve.
func lay(ctx context.Context, p plan, dir string, notes *notebook) (b *bed, err error) {
	b = &bed{plan: p, dir: dir, notes: notes}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.clear())
			b = nil
		}
	}()
	if b.minio, err = minioproc.Start(ctx, filepath.Join(dir, "minio"), minioproc.Options{OwnGroup: true}); err != nil {
		return b, err
	}
	if b.toxics, err = startToxiproxy(ctx, filepath.Join(dir, "toxiproxy.log")); err != nil {
		return b, err
	}
	if p.journal == etcdJournal {
		if b.etcd, err = etcdproc.Start(ctx, filepath.Join(dir, "etcd"), etcdproc.Options{Members: 3}); err != nil {
			return b, err
		}
	}
	if p.balancer {
		if b.balancer, err = newBalancer(dir); err != nil {
			return b, err
		}
	}
	return b, b.populate(ctx)
}

// populate starts the agents.
func (b *bed) populate(ctx context.Context) error {
	for n := range b.plan.agents + 1 {
		w, err := openWay(ctx, fmt.Sprintf("bucket-%d", n), b.toxics, b.minio.Address)
		if err != nil {
			return err
		}
		s, err := newSlot(b, n, w)
		if err != nil {
			w.hurdle.close()
			return err
		}
		b.slots = append(b.slots, s)
	}
	for _, s := range b.regular() {
		if err := s.start(); err != nil {
			return err
		}
	}
	if err := settle(ctx, b); err != nil {
		return err
	}
	if b.balancer != nil { // which takes all agents for good at first, also the spare one
		return b.balancer.start(ctx, b.slots)
	}
	return nil
}

// regular are the slots whose agents run all the time.
func (b *bed) regular() []*slot { return b.slots[:b.plan.agents] }

// spare is the slot for scaling out.
func (b *bed) spare() *slot { return b.slots[b.plan.agents] }

// ready waits until all regular agents serve.
func (b *bed) ready(ctx context.Context) error {
	for _, s := range b.regular() {
		if err := s.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// caller answers the number of the agent at the other end of a connection.
func (b *bed) caller(c net.Conn) int {
	var pids []int
	for _, s := range b.slots {
		pids = append(pids, s.newest())
	}
	return door.CallerOf(c, pids)
}

// leader answers the slot of the metadata leader; it looks for a few seconds, and takes the first slot if there is none.
func (b *bed) leader(ctx context.Context) *slot {
	for range 50 {
		for _, s := range b.slots {
			if s.leads(ctx) {
				return s
			}
		}
		select {
		case <-ctx.Done():
			return b.slots[0]
		case <-time.After(100 * time.Millisecond):
		}
	}
	return b.slots[0]
}

// storeURL is the bucket as an agent reaches it; every other agent uses the other driver.
func (b *bed) storeURL(number int, address string) string {
	seen := minioproc.Server{Address: address, Bucket: b.minio.Bucket}
	if number%2 == 1 {
		return seen.MinioURL("chaos")
	}
	return seen.S3URL("chaos")
}

func (b *bed) journalURL() string {
	if b.etcd != nil {
		return b.etcd.URL("chaos")
	}
	return "bucket:"
}

// advertise is what agents say of their address, beside what they listen on.
func (b *bed) advertise() []string {
	if b.balancer != nil {
		return []string{"--advertise", "shared=" + b.balancer.address}
	}
	return nil
}

// seeds are the addresses that clients know.
func (b *bed) seeds() (all []string) {
	if b.balancer != nil {
		return []string{b.balancer.address}
	}
	for _, s := range b.regular() {
		all = append(all, s.options.Address)
	}
	return all
}

// clear ends everything.
func (b *bed) clear() (err error) {
	var closing sync.WaitGroup
	errs := make([]error, len(b.slots))
	for i, s := range b.slots {
		closing.Go(func() { errs[i] = s.close() })
	}
	closing.Wait()
	if b.balancer != nil {
		b.balancer.stop()
	}
	if b.etcd != nil {
		b.etcd.Stop()
	}
	if b.toxics != nil {
		b.toxics.process.Kill()
	}
	if b.minio != nil {
		b.minio.Stop()
	}
	return errors.Join(errs...)
}

// balancer is an HAProxy before all agents. It is the system's own.
type balancer struct {
	address string
	dir     string
	process *proc.Process // nil until it was started
}

func newBalancer(dir string) (*balancer, error) {
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	return &balancer{address: address, dir: dir}, nil
}

// start runs HAProxy over the slots' addresses, each watched by its health check, and waits until it listens.
func (b *balancer) start(ctx context.Context, slots []*slot) error {
	var config strings.Builder
	config.WriteString("defaults\n mode tcp\n timeout connect 2s\n timeout client 10m\n timeout server 10m\n retries 3\n option redispatch 1\n")
	fmt.Fprintf(&config, "listen kafka\n bind %s\n balance roundrobin\n option httpchk GET /readyz\n default-server inter 500ms fall 2 rise 1\n", b.address)
	for _, s := range slots {
		_, port, _ := strings.Cut(s.options.HTTP, ":")
		fmt.Fprintf(&config, " server %s %s check port %s\n", s.name, s.options.Address, port)
	}
	path := filepath.Join(b.dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		return err
	}
	binary, err := proc.Installed("haproxy")
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, "-db", "-f", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if b.process, err = proc.Start("HAProxy", cmd); err != nil {
		return err
	}
	return b.process.Await(ctx, proc.Patience, func(context.Context) error {
		connection, err := net.Dial("tcp", b.address)
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

func (b *balancer) stop() {
	if b.process != nil {
		b.process.Kill()
	}
}
