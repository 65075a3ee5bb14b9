package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is what import paths of this module begin with.
const module = "github.com/leat-stream/leat/"

// source is one Go file. Paths are relative to the module's root.
type source struct {
	path      string
	dir       string
	test      bool // a _test.go file
	generated bool
	lines     int
	fset      *token.FileSet
	ast       *ast.File
}

// tree is all Go files of a module, and the names at its root.
type tree struct {
	top     []string // names at the root that are neither dotfiles nor ignored by git
	files   []*source
	broken  []violation
	scripts map[string]string // text of what runs the tests
}

// violation says what breaks which rule where. where is a path, or path:name for something within a file.
type violation struct{ where, what string }

// load reads every Go file below the root, but not testdata, dotted folders, and what .gitignore lists at the root.
func load(root fs.FS) (*tree, error) {
	t := &tree{scripts: map[string]string{}}
	for _, name := range []string{"Makefile", ".ci/run"} {
		if text, err := fs.ReadFile(root, name); err == nil {
			t.scripts[name] = string(text)
		}
	}
	ignored := ignoredNames(root)
	entries, err := fs.ReadDir(root, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !hidden(e.Name(), ignored) {
			t.top = append(t.top, e.Name())
		}
	}
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name() == "testdata" || hidden(name, ignored) || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		t.add(name, text)
		return nil
	})
	return t, err
}

func (t *tree) add(name string, text []byte) {
	f := &source{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), fset: token.NewFileSet()}
	var err error
	if f.ast, err = parser.ParseFile(f.fset, name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		t.broken = append(t.broken, violation{name, err.Error()})
		return
	}
	f.generated = ast.IsGenerated(f.ast)
	f.lines = strings.Count(string(text), "\n")
	t.files = append(t.files, f)
}

// ignoredNames answers the patterns for names at the root in .gitignore.
func ignoredNames(root fs.FS) []string {
	text, err := fs.ReadFile(root, ".gitignore")
	if err != nil {
		return nil
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name := strings.Trim(strings.TrimSpace(line), "/"); name != "" && !strings.HasPrefix(name, "#") {
			names = append(names, name)
		}
	}
	return names
}

func hidden(name string, ignored []string) bool {
	return strings.HasPrefix(name, ".") && name != "." || slices.ContainsFunc(ignored, func(pattern string) bool {
		match, err := path.Match(pattern, name)
		return err == nil && match
	})
}

// imports answers the paths a file imports.
func (f *source) imports() []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// nameOf answers the name under which a file knows the package it imports as want, or "".
func (f *source) nameOf(want string) string {
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err != nil || p != want {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(want)
	}
	return ""
}

func (f *source) line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

// span is how many lines a node takes.
func (f *source) span(n ast.Node) int { return f.fset.Position(n.End()).Line - f.line(n) + 1 }

// at names something in the file.
func (f *source) at(name string) string { return f.path + ":" + name }

// packages answers the files by folder; test tells whether _test.go files are among them.
func (t *tree) packages(test bool) map[string][]*source {
	all := map[string][]*source{}
	for _, f := range t.files {
		if test || !f.test {
			all[f.dir] = append(all[f.dir], f)
		}
	}
	return all
}

// within reports whether dir is folder or below it.
func within(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

// receiver answers the type name of a method, or "".
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	expr := fn.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// funcName is Name or Type.Name.
func funcName(fn *ast.FuncDecl) string {
	if r := receiver(fn); r != "" {
		return r + "." + fn.Name.Name
	}
	return fn.Name.Name
}

func TestIgnoredAndHiddenNamesAreNotJudged(t *testing.T) {
	got, err := load(sample(map[string]string{
		".gitignore": "/bin/\n*.prof\n", "bin/x.go": "package util", "cpu.prof": "", ".tools/y.go": "not Go",
		"cache/testdata/z.go": "not Go", "cache/c.go": "package cache",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.top, []string{"cache"}) || len(got.files) != 1 || len(got.broken) != 0 {
		t.Errorf("top %v, %d files, broken %v", got.top, len(got.files), got.broken)
	}
}

func (v violation) String() string { return fmt.Sprintf("%s: %s", v.where, v.what) }
