package archtest

import (
	"fmt"
	"go/ast"
	"slices"
)

// The budgets. Tests and generated files have none.
const (
	maxFileLines        = 600
	maxFunctionLines    = 70
	maxStructFields     = 15
	maxTypeMethods      = 25
	maxInterfaceMethods = 5
	maxPackageLines     = 2500
)

// largePackages may have more lines: one file for each API key, one type for each table.
var largePackages = []string{"agent/api", "metadata/state"}

// written answers the files that have a size budget.
func (t *tree) written() []*source {
	return slices.DeleteFunc(slices.Clone(t.files), func(f *source) bool { return f.test || f.generated })
}

func checkFileSize(t *tree) []violation {
	var broken []violation
	for _, f := range t.written() {
		if f.lines > maxFileLines {
			broken = append(broken, violation{f.path, fmt.Sprintf("%d lines, at most %d", f.lines, maxFileLines)})
		}
	}
	return broken
}

func checkFunctionSize(t *tree) []violation {
	var broken []violation
	for _, f := range t.written() {
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && f.span(fn) > maxFunctionLines {
				lines := f.span(fn)
				if fn.Doc != nil { // the node begins at its comment
					lines -= f.fset.Position(fn.Type.Pos()).Line - f.line(fn)
				}
				if lines > maxFunctionLines {
					broken = append(broken, violation{f.at(funcName(fn)), fmt.Sprintf("%d lines, at most %d", lines, maxFunctionLines)})
				}
			}
		}
	}
	return broken
}

// types calls do for every type declared at the top of a file.
func (f *source) types(do func(*ast.TypeSpec)) {
	for _, decl := range f.ast.Decls {
		if gen, ok := decl.(*ast.GenDecl); ok {
			for _, spec := range gen.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok {
					do(ts)
				}
			}
		}
	}
}

// count answers the names in a list of fields; an embedded one counts as one.
func count(fields *ast.FieldList) int {
	n := 0
	for _, field := range fields.List {
		n += max(len(field.Names), 1)
	}
	return n
}

func checkStructSize(t *tree) []violation {
	var broken []violation
	for _, f := range t.written() {
		f.types(func(ts *ast.TypeSpec) {
			if s, ok := ts.Type.(*ast.StructType); ok && count(s.Fields) > maxStructFields {
				broken = append(broken, violation{f.at(ts.Name.Name), fmt.Sprintf("%d fields, at most %d", count(s.Fields), maxStructFields)})
			}
		})
	}
	return broken
}

func checkInterfaceSize(t *tree) []violation {
	var broken []violation
	for _, f := range t.written() {
		f.types(func(ts *ast.TypeSpec) {
			if i, ok := ts.Type.(*ast.InterfaceType); ok && count(i.Methods) > maxInterfaceMethods {
				broken = append(broken, violation{f.at(ts.Name.Name), fmt.Sprintf("%d methods, at most %d", count(i.Methods), maxInterfaceMethods)})
			}
		})
	}
	return broken
}

func checkMethodCount(t *tree) []violation {
	counts := map[string]int{}
	for _, f := range t.written() {
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && receiver(fn) != "" {
				counts[f.dir+":"+receiver(fn)]++
			}
		}
	}
	var broken []violation
	for where, n := range counts {
		if n > maxTypeMethods {
			broken = append(broken, violation{where, fmt.Sprintf("%d methods, at most %d", n, maxTypeMethods)})
		}
	}
	return broken
}

func checkPackageSize(t *tree) []violation {
	lines := map[string]int{}
	for _, f := range t.written() {
		lines[f.dir] += f.lines
	}
	var broken []violation
	for dir, n := range lines {
		if n > maxPackageLines && !slices.Contains(largePackages, dir) {
			broken = append(broken, violation{dir, fmt.Sprintf("%d lines, at most %d", n, maxPackageLines)})
		}
	}
	return broken
}
