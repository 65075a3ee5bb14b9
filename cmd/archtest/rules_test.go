package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// rule finds what breaks it. Its name is used in the list of exceptions.
type rule struct {
	name  string
	check func(*tree) []violation
}

var rules = []rule{
	{"syntax", func(t *tree) []violation { return t.broken }},
	{"direction", checkDirection},
	{"shipped", checkShipped},
	{"separate", checkSeparate},
	{"sdk", checkSDKs},
	{"pure", checkPure},
	{"name", checkNames},
	{"top", checkTop},
	{"file size", checkFileSize},
	{"function size", checkFunctionSize},
	{"struct size", checkStructSize},
	{"method count", checkMethodCount},
	{"interface size", checkInterfaceSize},
	{"package size", checkPackageSize},
	{"package doc", checkPackageDoc},
	{"exported doc", checkExportedDoc},
	{"sleep", checkSleep},
	{"skip", checkSkip},
}

// exception allows one violation of a rule. where is as the rule reports it.
type exception struct{ rule, where, reason string }

// exceptions, by rule. One that is no longer needed fails the test too.
var exceptions = []exception{
	{"direction", "metadata/replica/replica_test.go", "tests the shell over the real journal and images in a bucket, which only a store can stand for"},
	{"direction", "metadata/replica/cluster_test.go", "tests the shell over the real journal and images in a bucket, which only a store can stand for"},
	{"direction", "metadata/replica/snapshot_test.go", "tests the shell over the real journal and images in a bucket, which only a store can stand for"},
	{"direction", "metadata/session_test.go", "tests the shell over the real journal and images in a bucket, which only a store can stand for"},
	{"method count", "objectstore/storetest:suite", "one method for each behaviour of the contract: it grows with the contract"},
	{"skip", "metadata/journal/journaltest/basics.go:survivesRestart", "the mem driver has nothing that outlives its process"},
	{"sleep", "agent/group/harness_test.go:door.do", "called in synctest bubbles only, where it is virtual time"},
	{"sleep", "agent/group/harness_test.go:harness.beatFor", "called in synctest bubbles only, where it is virtual time"},
	{"sleep", "metadata/replica/cluster_test.go:leader", "called in synctest bubbles only, where it is virtual time"},
	{"sleep", "metadata/replica/cluster_test.go:waitClosed", "called in synctest bubbles only, where it is virtual time"},
}

func TestModuleKeepsItsRules(t *testing.T) {
	module, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(module.files) < 10 {
		t.Fatalf("only %d files found: not the root of the module", len(module.files))
	}
	for _, r := range rules {
		t.Run(strings.ReplaceAll(r.name, " ", "-"), func(t *testing.T) {
			broken, stale := judge(r, module, exceptions)
			for _, v := range broken {
				t.Error(v)
			}
			for _, e := range stale {
				t.Errorf("the exception for %s is not needed any more (%s)", e.where, e.reason)
			}
		})
	}
}

// judge applies a rule with its exceptions.
func judge(r rule, t *tree, allowed []exception) (broken []violation, stale []exception) {
	used := map[string]bool{}
	for _, v := range r.check(t) {
		if slices.ContainsFunc(allowed, func(e exception) bool { return e.rule == r.name && e.where == v.where }) {
			used[v.where] = true
			continue
		}
		broken = append(broken, v)
	}
	for _, e := range allowed {
		if e.rule == r.name && !used[e.where] {
			stale = append(stale, e)
		}
	}
	slices.SortFunc(broken, func(a, b violation) int { return strings.Compare(a.String(), b.String()) })
	return broken, stale
}

func TestExceptionsNameARuleAndAReason(t *testing.T) {
	for _, e := range exceptions {
		if !slices.ContainsFunc(rules, func(r rule) bool { return r.name == e.rule }) || len(e.reason) < 10 {
			t.Errorf("exception %+v: no such rule, or no reason", e)
		}
	}
}

func TestExceptionAllowsOneThingAndGoesStale(t *testing.T) {
	bad, err := load(sample(map[string]string{"cache/a.go": "package cache", "agent/b.go": "package agent"}))
	if err != nil {
		t.Fatal(err)
	}
	r := rule{"package doc", checkPackageDoc}
	broken, stale := judge(r, bad, []exception{{"package doc", "cache", "a reason"}, {"package doc", "gone", "a reason"}, {"sleep", "x", "another rule's"}})
	if len(broken) != 1 || broken[0].where != "agent" || len(stale) != 1 || stale[0].where != "gone" {
		t.Errorf("broken %v, stale %v", broken, stale)
	}
}
