package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// arrows says which top-level folders a folder may import besides itself: cmd → agent → {cache, objectstore, metadata}.
var arrows = map[string][]string{
	"cmd":         {"agent", "cache", "objectstore", "metadata", "localstack"}, // the last not in cmd/leat, see unshipped
	"agent":       {"cache", "objectstore", "metadata"},
	"cache":       {},
	"objectstore": {},
	"metadata":    {},
	"localstack":  {"cmd", "objectstore"}, // tests only, a leaf as cmd: they start agents as cmd's do, and list the bucket
}

// sideways are the arrows beside those, tests included: from a folder to a folder, with a reason.
var sideways = []struct{ from, to, reason string }{
	{"metadata/journal/object", "objectstore", "the journal, its head and its snapshots in nothing but a bucket (DESIGN §9)"},
	{"objectstore/storetest", starter, "runs MinIO"},
	{"metadata/journal/etcd/etcdproc", starter, "runs etcd"},
}

// starter starts processes. Every test may import it.
const starter = "localstack/proc"

// checkDirection: imports go one way.
func checkDirection(t *tree) []violation {
	var broken []violation
	for _, f := range t.files {
		from, _, _ := strings.Cut(f.dir, "/")
		for _, imported := range f.imports() {
			to, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			target, _, _ := strings.Cut(to, "/")
			if from == target || slices.Contains(arrows[from], target) || f.test && to == starter {
				continue
			}
			if !slices.ContainsFunc(sideways, func(s struct{ from, to, reason string }) bool { return within(f.dir, s.from) && within(to, s.to) }) {
				broken = append(broken, violation{f.path, fmt.Sprintf("%s may not import %s", from, to)})
			}
		}
	}
	return broken
}

// unshipped is for tests and tools only.
var unshipped = []string{"localstack", "objectstore/storetest", "metadata/journal/etcd/etcdproc", "metadata/journal/journaltest", "cmd/agentproc"}

// checkShipped: what cmd/leat links holds nothing that is for tests and tools.
func checkShipped(t *tree) []violation {
	var broken []violation
	packages, linked := t.packages(false), []string{"cmd/leat"}
	for i := 0; i < len(linked); i++ {
		for _, f := range packages[linked[i]] {
			for _, imported := range f.imports() {
				to, ok := strings.CutPrefix(imported, module)
				switch {
				case !ok || slices.Contains(linked, to):
				case slices.ContainsFunc(unshipped, func(dir string) bool { return within(to, dir) }):
					broken = append(broken, violation{f.path, fmt.Sprintf("imports %s, which is not to be linked into leat", to)})
				default:
					linked = append(linked, to)
				}
			}
		}
	}
	return broken
}

// strangers do not know each other, tests excepted.
var strangers = []struct {
	dir    string
	not    []string
	reason string
}{
	{"agent/produce", []string{"agent/fetch"}, "the two journeys meet in the state only"},
	{"agent/fetch", []string{"agent/produce"}, "the two journeys meet in the state only"},
	{"agent/wire", []string{"objectstore", "cache", "metadata", "agent/produce", "agent/fetch"}, "wire knows no storage"},
	{"metadata/state", []string{"metadata/journal", "metadata/replica"}, "the state machine is pure"},
}

// checkSeparate: packages that must not know each other do not.
func checkSeparate(t *tree) []violation {
	var broken []violation
	for _, f := range t.files {
		for _, s := range strangers {
			if f.test || !within(f.dir, s.dir) {
				continue
			}
			for _, imported := range f.imports() {
				to, ok := strings.CutPrefix(imported, module)
				if ok && slices.ContainsFunc(s.not, func(not string) bool { return within(to, not) }) {
					broken = append(broken, violation{f.path, fmt.Sprintf("imports %s: %s", to, s.reason)})
				}
			}
		}
	}
	return broken
}

// sdks says which folders may import a foreign module.
var sdks = []struct {
	module string
	dirs   []string
}{
	{"github.com/aws", []string{"objectstore/s3", "localstack"}}, // localstack asks the token service for a role, as nothing in Leat does
	{"github.com/minio", []string{"objectstore/minio"}},
	{"go.etcd.io/bbolt", []string{"cache", "metadata/journal/bolt"}},
	{"go.etcd.io/etcd", []string{"metadata/journal/etcd", "cmd/etcd"}}, // cmd/etcd is a module of its own: the server that tests start
	{"github.com/dgraph-io/ristretto", []string{"cache"}},
}

// checkSDKs: an SDK is imported only by its driver, so that it can be replaced there.
func checkSDKs(t *tree) []violation {
	var broken []violation
	for _, f := range t.files {
		for _, imported := range f.imports() {
			for _, sdk := range sdks {
				if within(imported, sdk.module) && !slices.ContainsFunc(sdk.dirs, func(dir string) bool { return within(f.dir, dir) }) {
					broken = append(broken, violation{f.path, fmt.Sprintf("imports %s: only %v may", imported, sdk.dirs)})
				}
			}
		}
	}
	return broken
}

// pureDir is the folder whose code may depend on nothing but its arguments.
const pureDir = "metadata/state"

// impure are packages of the standard library that bring in clocks, chance, I/O, goroutines or logging.
var impure = []string{"math/rand", "crypto/rand", "log", "os", "net", "syscall", "sync", "runtime", "unsafe", "testing", "context", "io/ioutil", "hash/maphash"}

// clock are the functions of package time that read or wait for a clock.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// checkPure: the state machine imports only the standard library, and nothing of it that differs from run to run.
func checkPure(t *tree) []violation {
	var broken []violation
	for _, f := range t.files {
		if f.test || !within(f.dir, pureDir) {
			continue
		}
		for _, imported := range f.imports() {
			first, _, _ := strings.Cut(imported, "/")
			own := strings.HasPrefix(imported, module+pureDir)
			if (strings.Contains(first, ".") && !own) || slices.ContainsFunc(impure, func(p string) bool { return within(imported, p) }) {
				broken = append(broken, violation{f.path, "imports " + imported})
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if what := impurity(n, f.nameOf("time")); what != "" {
				broken = append(broken, violation{f.path, fmt.Sprintf("line %d: %s", f.line(n), what)})
			}
			return true
		})
	}
	return broken
}

// impurity names what is impure about a node, or is empty.
func impurity(n ast.Node, timeName string) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "go statement"
	case *ast.SelectStmt:
		return "select statement"
	case *ast.ChanType:
		return "chan type"
	case *ast.SendStmt:
		return "send"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "receive"
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && slices.Contains(clock, n.Sel.Name) {
			return "time." + n.Sel.Name
		}
	}
	return ""
}

// checkNames: no package is called after what it does not say.
func checkNames(t *tree) []violation {
	var broken []violation
	for dir, files := range t.packages(true) {
		for _, part := range append(strings.Split(dir, "/"), strings.TrimSuffix(files[0].ast.Name.Name, "_test")) {
			if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc"}, part) {
				broken = append(broken, violation{dir, "a package called " + part + " says nothing"})
				break
			}
		}
	}
	return broken
}

// topNames are all the names at the root, beside dotfiles and what git ignores.
var topNames = strings.Fields("agent objectstore cache metadata terraform localstack cmd go.mod go.sum Makefile README.md LICENSE Dockerfile compose.yaml")

// checkTop: the root holds exactly the given names.
func checkTop(t *tree) []violation {
	var broken []violation
	for _, name := range t.top {
		if !slices.Contains(topNames, name) {
			broken = append(broken, violation{name, "is not one of the names of DESIGN §9"})
		}
	}
	return broken
}
