package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// checkPackageDoc: every package says what it is for.
func checkPackageDoc(t *tree) []violation {
	var broken []violation
	written := t.packages(false)
	for dir, files := range t.packages(true) {
		if len(written[dir]) > 0 {
			files = written[dir]
		}
		if !slices.ContainsFunc(files, func(f *source) bool { return f.ast.Doc != nil && len(f.ast.Doc.Text()) >= 40 }) {
			broken = append(broken, violation{dir, "no package comment that says what it is for and what it must never do"})
		}
	}
	return broken
}

// checkExportedDoc: every exported name of a package that can be imported is documented: types, functions, methods of
// exported types and of interfaces, variables and constants. One comment may stand for a group of constants or variables,
// and an interface's for its only method. What everyone knows (Error, String, Unwrap) needs none.
func checkExportedDoc(t *tree) []violation {
	var broken []violation
	for _, f := range t.written() {
		if f.ast.Name.Name == "main" {
			continue
		}
		bad := func(name string) { broken = append(broken, violation{f.at(name), "exported but not documented"}) }
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				r := receiver(d)
				known := r != "" && slices.Contains([]string{"Error", "String", "Unwrap"}, d.Name.Name)
				if d.Name.IsExported() && (r == "" || ast.IsExported(r)) && d.Doc == nil && !known {
					bad(funcName(d))
				}
			case *ast.GenDecl:
				undocumented(d, bad)
			}
		}
	}
	return broken
}

// undocumented reports the exported names of a declaration that have no comment.
func undocumented(d *ast.GenDecl, report func(name string)) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if !s.Name.IsExported() {
				continue
			}
			if s.Doc == nil && s.Comment == nil && (d.Doc == nil || d.Lparen != token.NoPos) {
				report(s.Name.Name)
			}
			if i, ok := s.Type.(*ast.InterfaceType); ok && len(i.Methods.List) > 1 {
				for _, m := range i.Methods.List {
					if len(m.Names) > 0 && m.Names[0].IsExported() && m.Doc == nil && m.Comment == nil {
						report(s.Name.Name + "." + m.Names[0].Name)
					}
				}
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					report(name.Name)
				}
			}
		}
	}
}

// tests answers the files that are tests, or packages of tests for others (storetest, journaltest).
func (t *tree) tests() []*source {
	return slices.DeleteFunc(slices.Clone(t.files), func(f *source) bool { return !f.test && !strings.HasSuffix(f.dir, "test") })
}

// checkSleep: tests wait for conditions, not for time. In a synctest bubble, time is virtual.
func checkSleep(t *tree) []violation {
	var broken []violation
	bubbles := map[string][]string{} // by folder: functions that run their argument in a bubble
	for _, f := range t.tests() {
		f.functions(func(fn *ast.FuncDecl) {
			if f.makesBubble(fn) {
				bubbles[f.dir] = append(bubbles[f.dir], fn.Name.Name)
			}
		})
	}
	for _, f := range t.tests() {
		timeName := f.nameOf("time")
		if timeName == "" {
			continue
		}
		f.functions(func(fn *ast.FuncDecl) {
			ast.Inspect(fn, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if isSelector(call.Fun, timeName, "Sleep") {
					broken = append(broken, violation{f.at(funcName(fn)), fmt.Sprintf("line %d: sleeps", f.line(call))})
				}
				name, _ := call.Fun.(*ast.Ident)
				return !f.isBubble(call) && (name == nil || !slices.Contains(bubbles[f.dir], name.Name))
			})
		})
	}
	return broken
}

// isBubble reports whether a call is synctest.Test.
func (f *source) isBubble(call *ast.CallExpr) bool {
	name := f.nameOf("testing/synctest")
	return name != "" && isSelector(call.Fun, name, "Test")
}

// makesBubble reports whether a function takes a function and calls synctest.Test.
func (f *source) makesBubble(fn *ast.FuncDecl) (makes bool) {
	if !slices.ContainsFunc(fn.Type.Params.List, func(p *ast.Field) bool { _, ok := p.Type.(*ast.FuncType); return ok }) {
		return false
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		makes = makes || ok && f.isBubble(call)
		return !makes
	})
	return makes
}

// checkSkip: a test that does not run shows nothing. Only -short may skip, and nothing that counts is run with it.
func checkSkip(t *tree) []violation {
	var broken []violation
	for name, text := range t.scripts {
		if strings.Contains(text, "-short") {
			broken = append(broken, violation{name, "runs tests with -short, which skips some"})
		}
	}
	for _, f := range t.tests() {
		f.functions(func(fn *ast.FuncDecl) {
			ast.Inspect(fn, func(n ast.Node) bool {
				if cond, ok := n.(*ast.IfStmt); ok && cond.Init == nil && cond.Else == nil {
					if call, ok := cond.Cond.(*ast.CallExpr); ok && isSelector(call.Fun, "testing", "Short") {
						return false
					}
				}
				if call, ok := n.(*ast.CallExpr); ok && skips(call) {
					broken = append(broken, violation{f.at(funcName(fn)), fmt.Sprintf("line %d: skips", f.line(call))})
				}
				return true
			})
		})
	}
	return broken
}

// skips reports whether a call skips a test, going by the names that tests have for their testing.TB.
func skips(call *ast.CallExpr) bool {
	for _, name := range []string{"Skip", "Skipf", "SkipNow"} {
		for _, receiver := range []string{"t", "b", "f", "tb"} {
			if isSelector(call.Fun, receiver, name) {
				return true
			}
		}
	}
	return false
}

// functions calls do for every function declared in the file.
func (f *source) functions(do func(*ast.FuncDecl)) {
	for _, decl := range f.ast.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok {
			do(fn)
		}
	}
}

// isSelector reports whether e is x.name.
func isSelector(e ast.Expr, x, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == x
}
