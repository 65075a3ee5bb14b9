package archtest

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// sample makes a module of files in memory.
func sample(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func lines(n int) string { return strings.Repeat("\t_ = 0\n", n) }

func names(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// importing is a file of a package that imports paths.
func importing(pkg string, paths ...string) string {
	return fmt.Sprintf("package %s\n%s", pkg, "import _ \""+strings.Join(paths, "\"\nimport _ \"")+"\"\n")
}

// samples hold, for each rule, what breaks it (with where that is reported) and what just does not.
var samples = []struct {
	rule  string
	files map[string]string
	want  []string
}{
	{"syntax", map[string]string{"cache/a.go": "pakage cache", "cache/b.go": "package cache"}, []string{"cache/a.go"}},
	{"direction", map[string]string{
		"cache/a.go":                         importing("cache", module+"agent"),
		"cache/b.go":                         importing("cache", module+"objectstore"),
		"objectstore/mem/a.go":               importing("mem", module+"objectstore", module+"metadata/state"),
		"metadata/replica/a.go":              importing("replica", module+"objectstore"),
		"metadata/replica/a_test.go":         importing("replica", module+"objectstore/mem"),
		"agent/a.go":                         importing("agent", module+"cmd/leat"),
		"agent/b.go":                         importing("agent", module+"cache", module+"objectstore/s3", module+"metadata", "fmt"),
		"cmd/leat/a.go":                      importing("main", module+"agent", module+"objectstore/s3"),
		"metadata/journal/object/a.go":       importing("object", module+"objectstore", module+"metadata/journal"),
		"metadata/journal/object/a_test.go":  importing("object", module+"objectstore/mem"),
		"metadata/journal/objects/a_test.go": importing("objects", module+"objectstore/mem"),
		"cache/a_test.go":                    importing("cache", module+"localstack/proc"),
		"agent/c.go":                         importing("agent", module+"localstack/proc"),
		"agent/c_test.go":                    importing("agent", module+"localstack"),
	}, []string{
		"agent/a.go", "agent/c.go", "agent/c_test.go", "cache/a.go", "cache/b.go", "metadata/journal/objects/a_test.go", "metadata/replica/a.go",
		"metadata/replica/a_test.go", "objectstore/mem/a.go",
	}},
	{"shipped", map[string]string{
		"cmd/leat/a.go":              importing("main", module+"agent", module+"localstack/proc"),
		"cmd/leat/a_test.go":         importing("main", module+"localstack/proc"),
		"cmd/demo/a.go":              importing("main", module+"localstack/proc"),
		"agent/a.go":                 importing("agent", module+"cache", module+"agent"),
		"cache/a.go":                 importing("cache", module+"objectstore/storetest/minioproc"),
		"objectstore/storetest/a.go": importing("storetest", module+"localstack/proc"),
	}, []string{"cache/a.go", "cmd/leat/a.go"}},
	{"separate", map[string]string{
		"agent/produce/a.go":  importing("produce", module+"agent/fetch"),
		"agent/fetch/a.go":    importing("fetch", module+"agent/produce"),
		"agent/wire/a.go":     importing("wire", module+"objectstore/mem"),
		"agent/wire/b.go":     importing("wire", module+"agent/batch"),
		"agent/api/a.go":      importing("api", module+"agent/produce", module+"agent/fetch"),
		"metadata/state/a.go": importing("state", module+"metadata/journal"),
	}, []string{"agent/fetch/a.go", "agent/produce/a.go", "agent/wire/a.go", "metadata/state/a.go"}},
	{"sdk", map[string]string{
		"objectstore/s3/a.go":        importing("s3", "github.com/aws/aws-sdk-go-v2/service/s3", "github.com/minio/minio-go/v7"),
		"objectstore/minio/a.go":     importing("minio", "github.com/minio/minio-go/v7"),
		"metadata/journal/mem/a.go":  importing("mem", "go.etcd.io/bbolt"),
		"metadata/journal/bolt/a.go": importing("bolt", "go.etcd.io/bbolt"),
		"cache/a.go":                 importing("cache", "go.etcd.io/bbolt/errors", "github.com/dgraph-io/ristretto/v2"),
		"agent/a.go":                 importing("agent", "github.com/dgraph-io/ristretto/v2"),
		"cmd/leat/a.go":              importing("main", "github.com/aws/aws-sdk-go-v2/config"),
	}, []string{"agent/a.go", "cmd/leat/a.go", "metadata/journal/mem/a.go", "objectstore/s3/a.go"}},
	{"pure", map[string]string{
		"metadata/state/now.go":     "package state\nimport \"time\"\nvar x = time.Now()",
		"metadata/state/renamed.go": "package state\nimport clock \"time\"\nvar x = clock.Since",
		"metadata/state/rand.go":    importing("state", "math/rand/v2"),
		"metadata/state/crypto.go":  importing("state", "crypto/rand"),
		"metadata/state/log.go":     importing("state", "log/slog"),
		"metadata/state/os.go":      importing("state", "os"),
		"metadata/state/foreign.go": importing("state", "github.com/cespare/xxhash/v2"),
		"metadata/state/go.go":      "package state\nfunc f() { go f() }",
		"metadata/state/chan.go":    "package state\nvar c chan int",
		"metadata/state/fine.go":    "package state\nimport (\"time\"; \"sort\"; \"crypto/sha256\")\nvar d time.Duration; var _ = time.UnixMilli",
		"metadata/state/a_test.go":  importing("state", "pgregory.net/rapid", "os"),
		"metadata/replica/a.go":     importing("replica", "math/rand", "log/slog"),
	}, []string{
		"metadata/state/chan.go", "metadata/state/crypto.go", "metadata/state/foreign.go", "metadata/state/go.go", "metadata/state/log.go",
		"metadata/state/now.go", "metadata/state/os.go", "metadata/state/rand.go", "metadata/state/renamed.go",
	}},
	{"name", map[string]string{
		"agent/util/a.go": "package x", "agent/y/a.go": "package helpers", "agent/common/deep/a.go": "package deep", "agent/utility/a.go": "package utility",
	}, []string{"agent/common/deep", "agent/util", "agent/y"}},
	{"top", map[string]string{
		"docs/x.md": "", "main.go": "package main", "LICENSE": "", "cache/a.go": "package cache", ".ci/run": "", "Makefile": "",
	}, []string{"docs", "main.go"}},
	{"file size", map[string]string{
		"cache/a.go":      "package cache\n" + strings.Repeat("\n", maxFileLines-1),
		"cache/b.go":      "package cache\n" + strings.Repeat("\n", maxFileLines),
		"cache/b_test.go": "package cache\n" + strings.Repeat("\n", maxFileLines),
	}, []string{"cache/b.go"}},
	{"function size", map[string]string{
		"cache/a.go": "package cache\n// f has\n// a comment.\nfunc f() {\n" + lines(maxFunctionLines-2) + "}\nfunc (*t[K]) g() {\n" + lines(maxFunctionLines-1) + "}\n",
		"cache/b.go": "// Code generated by x. DO NOT EDIT.\npackage cache\nfunc f() {\n" + lines(maxFunctionLines) + "}\n",
	}, []string{"cache/a.go:t.g"}},
	{"struct size", map[string]string{
		"cache/a.go": "package cache\ntype a struct {\n" + names("f%d int\n", 14) + "x int\n}\ntype b struct {\n" + names("f%d, g%[1]d int\n", 7) + "x int\na\n}\n",
	}, []string{"cache/a.go:b"}},
	{"method count", map[string]string{
		"cache/a.go": "package cache\n" + names("func (*a) f%d() {}\n", 25) + names("func (b) f%d() {}\n", 20),
		"cache/b.go": "package cache\n" + names("func (*b) g%d() {}\n", 6),
	}, []string{"cache:b"}},
	{"interface size", map[string]string{
		"cache/a.go": "package cache\ntype a interface {\n" + names("f%d()\n", 5) + "}\ntype b interface {\n" + names("f%d()\n", 5) + "a\n}\n",
	}, []string{"cache/a.go:b"}},
	{"package size", map[string]string{
		"cache/a.go":         "package cache\n" + strings.Repeat("\n", 2000),
		"cache/b.go":         "package cache\n" + strings.Repeat("\n", 499),
		"agent/api/a.go":     "package api\n" + strings.Repeat("\n", 3000),
		"metadata/a_test.go": "package metadata\n" + strings.Repeat("\n", 3000),
	}, []string{"cache"}},
	{"package doc", map[string]string{
		"cache/a.go": "package cache", "cache/a_test.go": "// Package cache is described in the wrong place, a test.\npackage cache",
		"agent/a.go": "package agent", "agent/doc.go": "// Package agent is well described, and never does anything bad.\npackage agent",
		"cmd/leat/a.go": "package main",
	}, []string{"cache", "cmd/leat"}},
	{"exported doc", map[string]string{
		"cache/a.go": `package cache
func F() {}
// G is documented.
func G() {}
type T struct{}
func (T) M() {}
func (t) M() {}
const C = 1
var (
	V = 1
	W = 1 // W is documented.
)
// The group is documented.
const (
	D = 1
	E = 2
)
// Types need their own.
type (
	U int
)
// I is documented, its method B is not.
type I interface {
	A() // A is.
	B()
}
// J is documented, and so is its only method.
type J interface { A() }
// E is an error.
type Err struct{}
func (Err) Error() string { return "" }
func Error() {}
func f() {}`,
		"cache/a_test.go": "package cache\nfunc TestX() {}",
		"cmd/leat/a.go":   "package main\nfunc F() {}",
	}, []string{"cache/a.go:C", "cache/a.go:Error", "cache/a.go:F", "cache/a.go:I.B", "cache/a.go:T", "cache/a.go:T.M", "cache/a.go:U", "cache/a.go:V"}},
	{"sleep", map[string]string{
		"cache/a.go":                 "package cache\nimport \"time\"\nfunc f() { time.Sleep(1) }",
		"cache/a_test.go":            "package cache\nimport \"time\"\nfunc TestA() { func() { time.Sleep(1) }() }",
		"cache/b_test.go":            "package cache\nimport (\"time\"; \"testing/synctest\")\nfunc TestB() { synctest.Test(t, func() { time.Sleep(1) }) }",
		"cache/c_test.go":            "package cache\nimport (\"time\"; \"testing/synctest\")\nfunc bubble(t, do func()) { synctest.Test(t, do) }\nfunc TestC() { bubble(t, func() { time.Sleep(1) }); time.Sleep(1) }",
		"cache/d_test.go":            "package cache\nimport \"time\"\nfunc TestD() { bubble(t, func() { time.Sleep(1) }) }",
		"objectstore/storetest/a.go": "package storetest\nimport tm \"time\"\nfunc f() { tm.Sleep(1) }",
	}, []string{"cache/a_test.go:TestA", "cache/c_test.go:TestC", "objectstore/storetest/a.go:f"}},
	{"skip", map[string]string{
		"cache/a_test.go": "package cache\nfunc TestA() { t.Skip() }\nfunc TestB() { t.Run(func() { t.Skipf(``) }) }\nfunc TestC() { b.SkipNow() }\nfunc TestD() { reader.Skip() }\nfunc TestE() { if testing.Short() { t.Skip() } }",
		"Makefile":        "test:\n\tgo test -short ./...\n",
	}, []string{"Makefile", "cache/a_test.go:TestA", "cache/a_test.go:TestB", "cache/a_test.go:TestC"}},
}

func TestEachRuleCatchesABadSampleAndLetsAGoodOnePass(t *testing.T) {
	for _, r := range rules {
		t.Run(strings.ReplaceAll(r.name, " ", "-"), func(t *testing.T) {
			tried := false
			for _, s := range samples {
				if s.rule != r.name {
					continue
				}
				tried = true
				bad, err := load(sample(s.files))
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, v := range r.check(bad) {
					got = append(got, v.where)
				}
				slices.Sort(got)
				if got = slices.Compact(got); !slices.Equal(got, s.want) {
					t.Errorf("reported %q\nwant %q", got, s.want)
				}
			}
			if !tried {
				t.Error("no sample")
			}
		})
	}
}
