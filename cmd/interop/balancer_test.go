//go:build interop

package interop

import (
	"strings"
	"sync"
	"testing"

	"github.com/leat-stream/leat/cmd/interop/javatools"
)

// TestBehindOneAddress: clients know nothing but a HAProxy, whatever they do, while all agents are restarted one after the other
// and then one is killed.
func TestBehindOneAddress(t *testing.T) {
	for _, journal := range []string{"bucket:", "etcd"} {
		t.Run(strings.TrimSuffix(journal, ":"), func(t *testing.T) {
			c := newCluster(t, journal)
			c.start(t, c.balance(t, 3)...)
			crowd := newCrowd(t, c.addr(), "java", "librdkafka", "kgo")
			s := session{addr: c.addr()}

			// An agent that leaves has four seconds to find a moment in which no Java client forgets its topics for the end of its connection.
			// On a machine that is too busy that may not do.
			crowd.undisturbed(t, func() {
				var tools sync.WaitGroup
				defer tools.Wait()
				tools.Go(func() { s.balanced(t) })
				c.roll(t, crowd)
			}, "java")
			for _, m := range c.agents {
				if n := m.metrics(t).Sum("leat_wire_requests_total", `error="NOT_`); n != 0 {
					t.Errorf("%s answered %v requests with routing errors", m.name, n)
				}
			}

			c.agents[1].kill()
			crowd.flows(t, crowdRate)
			c.start(t, c.agents[1])
			group := []string{"--describe", "--group", crowd.histories[0].group}
			if out := s.java(t, "", javatools.ConsumerGroups, append(group, "--members")...); strings.Count(out, " /127.0.0.1 ") != crowdMembers {
				t.Errorf("want %d members, of this host, in\n%s", crowdMembers, out)
			}
			contains(t, s.java(t, "", javatools.ConsumerGroups, append(group, "--state")...), "Stable", c.addr()+" ")
			crowd.flows(t, crowdRate)
			crowd.stop(t, c.addr())
		})
	}
}

// balanced is what the tools do that work for a while, and what needs the coordinator of a group.
func (s session) balanced(t *testing.T) {
	const topic, group = "console", "console-group"
	s.java(t, "", javatools.Topics, "--create", "--topic", topic, "--partitions", "3")
	contains(t, s.java(t, "", javatools.Topics, "--describe", "--topic", topic), "PartitionCount: 3", "Leader: 0\tReplicas: 0\tIsr: 0")
	want := numbered("balanced", 300)
	s.java(t, strings.Join(want, "\n")+"\n", javatools.ConsoleProducer, "--topic", topic, "--reader-property", "parse.key=true")
	read := func() []string {
		return lines(s.java(t, "", javatools.ConsoleConsumer, "--topic", topic, "--group", group, "--from-beginning",
			"--max-messages", "300", "--timeout-ms", "60000", "--formatter-property", "print.key=true"))
	}
	sameLines(t, read(), want)
	contains(t, s.java(t, "", javatools.ConsumerGroups, "--list"), group)
	s.java(t, "", javatools.ConsumerGroups, "--group", group, "--topic", topic, "--reset-offsets", "--to-earliest", "--execute")
	sameLines(t, read(), want)
	contains(t, s.java(t, "", javatools.ConsumerGroups, "--delete", "--group", group), "was successful")
	s.perf(t)
}
