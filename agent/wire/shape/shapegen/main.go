// Command shapegen writes package shape's shapes.txt from kmsg's own source: its struct fields stand in wire order and their comments
// name versions and tags. Run it (go generate ./agent/wire/shape) when kmsg's version changes; TestEveryRequestHasTheShapeKmsgGivesIt tells
// when. It must never become part of what ships.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	structs  = map[string]*ast.StructType{}
	versions = regexp.MustCompile(`v(\d+)(?:\+|-v(\d+))`)
	tagged   = regexp.MustCompile(`tag (\d+)`)
	prims    = map[string]string{"bool": "1", "int8": "1", "int16": "2", "uint16": "2", "int32": "4", "uint32": "4", "int64": "8", "float64": "8", "string": "s", "*string": "s", "[]byte": "b", "[16]byte": "u"}
)

func main() {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/twmb/franz-go/pkg/kmsg").Output()
	if err != nil {
		log.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "generated.go"), nil, parser.ParseComments)
	if err != nil {
		log.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok {
			if s, ok := t.Type.(*ast.StructType); ok {
				structs[t.Name.Name] = s
			}
		}
		return true
	})
	var out bytes.Buffer
	for key := int16(0); key <= kmsg.MaxKey; key++ {
		r := kmsg.RequestForKey(key)
		if r == nil || key >= 4 && key <= 7 { // what the controller told brokers before KRaft
			continue
		}
		name := strings.TrimPrefix(fmt.Sprintf("%T", r), "*kmsg.")
		flexible := -1
		for v := r.MaxVersion(); v >= 0; v-- {
			if r.SetVersion(v); r.IsFlexible() {
				flexible = int(v)
			}
		}
		fmt.Fprintf(&out, "%d %s %d %s\n", key, name, flexible, fields(name))
	}
	name := "shapes.txt"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
}

// onlyInWords are fields of version 0 alone, which the comments in kmsg's source tell in words if at all.
var onlyInWords = map[string]string{
	"ListOffsetsRequestTopicPartition.MaxNumOffsets":          "@0-0",
	"EndQuorumEpochRequestTopicPartition.PreferredSuccessors": "@0-0",
	"UpdateFeaturesRequestFeatureUpdate.AllowDowngrade":       "@0-0",
	"ShareFetchRequestTopicPartition.PartitionMaxBytes":       "@0-0",
}

func fields(structName string) string {
	s := structs[structName]
	var out []string
	for _, f := range s.Fields.List {
		name := f.Names[0].Name
		if name == "Version" && len(out) == 0 && f.Comment == nil && f.Doc != nil && strings.Contains(f.Doc.Text(), "version of this message") || name == "UnknownTags" {
			continue
		}
		word := kind(f.Type)
		if f.Comment != nil {
			if m := tagged.FindStringSubmatch(f.Comment.Text()); m != nil {
				word = "#" + m[1] + ":" + word
			} else if m := versions.FindStringSubmatch(f.Comment.Text()); m != nil {
				word += "@" + m[1] + "-" + m[2]
			} else {
				log.Fatalf("comment %q", f.Comment.Text())
			}
		}
		word += onlyInWords[structName+"."+name]
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

func kind(e ast.Expr) string {
	var b strings.Builder
	write(&b, e)
	text := b.String()
	if p, ok := prims[text]; ok {
		return p
	}
	for _, prefix := range []string{"[]", "*"} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			if p, ok := prims[rest]; ok {
				return "*" + p
			}
			if structs[rest] == nil {
				log.Fatalf("type %s", text)
			}
			return map[string]string{"[]": "[ ", "*": "?{ "}[prefix] + fields(rest) + map[string]string{"[]": " ]", "*": " }"}[prefix]
		}
	}
	if structs[text] != nil {
		return "{ " + fields(text) + " }"
	}
	if t, ok := map[string]string{"ConfigResourceType": "1", "IncrementalAlterConfigOp": "1", "ACLResourceType": "1", "ACLOperation": "1", "ACLPermissionType": "1", "ACLResourcePatternType": "1", "CoordinatorType": "1", "QuotasMatchType": "1"}[text]; ok {
		return t
	}
	log.Fatalf("type %s", text)
	return ""
}

func write(b *strings.Builder, e ast.Expr) {
	switch t := e.(type) {
	case *ast.Ident:
		b.WriteString(t.Name)
	case *ast.StarExpr:
		b.WriteByte('*')
		write(b, t.X)
	case *ast.ArrayType:
		b.WriteByte('[')
		if l, ok := t.Len.(*ast.BasicLit); ok {
			b.WriteString(l.Value)
		}
		b.WriteByte(']')
		write(b, t.Elt)
	}
}
