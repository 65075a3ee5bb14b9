//go:build image

package image

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instruction is one line of a Dockerfile, with what continues it.
type instruction struct{ name, args string }

// stage is what one FROM begins.
type stage struct {
	base, name   string
	instructions []instruction
}

// all answers what the stage's instructions of a name say.
func (s stage) all(name string) (args []string) {
	for _, i := range s.instructions {
		if i.name == name {
			args = append(args, i.args)
		}
	}
	return args
}

// only answers what the stage's single instruction of a name says.
func (s stage) only(t *testing.T, name string) string {
	t.Helper()
	all := s.all(name)
	if len(all) != 1 {
		t.Fatalf("%d instructions %s, want one", len(all), name)
	}
	return all[0]
}

// list is a JSON list, as CMD has.
func list(t *testing.T, text string) (words []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &words); err != nil {
		t.Fatalf("%s: %v: want a JSON list, as there is no shell", text, err)
	}
	return words
}

// env answers the variables that the stage sets, as "NAME=value".
func (s stage) env() (all []string) {
	for _, args := range s.all("ENV") {
		all = append(all, strings.Fields(args)...)
	}
	return all
}

// readDockerfile answers the values of the ARGs before the first FROM, and the stages.
func readDockerfile(t *testing.T) (args map[string]string, stages []stage) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	args = map[string]string{}
	joined := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(text), "")
	joined = strings.ReplaceAll(joined, "\\\n", " ")
	for line := range strings.Lines(joined) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case name == "":
		case name == "FROM":
			words := slices.DeleteFunc(strings.Fields(rest), func(w string) bool { return strings.HasPrefix(w, "--") })
			s := stage{base: words[0]}
			if len(words) == 3 && words[1] == "AS" {
				s.name = words[2]
			}
			stages = append(stages, s)
		case len(stages) > 0:
			last := &stages[len(stages)-1]
			last.instructions = append(last.instructions, instruction{name, rest})
		case name == "ARG":
			key, value, _ := strings.Cut(rest, "=")
			args[key] = value
		}
	}
	if len(stages) != 2 || stages[0].name != "build" {
		t.Fatalf("want a stage called build and the image's own: %+v", stages)
	}
	return args, stages
}

// moduleRoot is where the Dockerfile is.
const moduleRoot = "../.."

func TestImageIsSmallAndUnprivileged(t *testing.T) {
	args, stages := readDockerfile(t)
	image := stages[1]
	if image.base != "scratch" {
		t.Errorf("the image is based on %s", image.base)
	}
	if len(image.all("RUN"))+len(image.all("ADD")) > 0 {
		t.Error("the image's own stage does more than copy")
	}
	if got := image.only(t, "VOLUME"); got != `["/cache"]` {
		t.Errorf("VOLUME %s", got)
	}
	if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(image.only(t, "USER")) {
		t.Errorf("USER %s: want numbers, which need no /etc/passwd, and not root's", image.only(t, "USER"))
	}
	if got := image.only(t, "STOPSIGNAL"); got != "SIGTERM" {
		t.Errorf("STOPSIGNAL %s: agents drain on SIGTERM", got)
	}
	for _, variable := range image.env() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasSuffix(value, "}") || !strings.HasPrefix(name, "LEAT_") {
			t.Errorf("ENV %s", variable)
		} else if i := strings.LastIndex(value, ":"); i >= 0 && !slices.Contains(strings.Fields(image.only(t, "EXPOSE")), value[i+1:]) {
			t.Errorf("port of %s is not exposed", variable)
		}
	}
	labels := strings.Join(image.all("LABEL"), " ")
	for _, label := range []string{"title", "description", "source", "licenses", "version", "revision"} {
		if !strings.Contains(labels, "org.opencontainers.image."+label+"=") {
			t.Errorf("no label %s", label)
		}
	}
	// A tag that is exact, and of the Go that go.mod wants: a digest may follow.
	goMod, err := os.ReadFile(filepath.Join(moduleRoot, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(goMod)[1]
	if want := regexp.MustCompile(fmt.Sprintf(`/golang:%s\.\d+-\w+(@sha256:[0-9a-f]{64})?$`, regexp.QuoteMeta(string(language)))); !want.MatchString(args["GO_IMAGE"]) {
		t.Errorf("built on %s, want %s", args["GO_IMAGE"], want)
	}
}

// ignored tells whether .dockerignore leaves a file out of the context: the last pattern that matches it, or a folder that it is in, decides.
func ignored(patterns []string, file string) bool {
	out := false
	for _, pattern := range patterns {
		keep := strings.HasPrefix(pattern, "!")
		expr := regexp.QuoteMeta(path.Clean(strings.TrimPrefix(pattern, "!")))
		expr = strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*`, `[^/]*`).Replace(expr)
		if regexp.MustCompile(`^` + expr + `(/.*)?$`).MatchString(file) {
			out = !keep
		}
	}
	return out
}

func ignorePatterns(t *testing.T) (patterns []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			patterns = append(patterns, line)
		}
	}
	return patterns
}

func TestContextHasNoSecretsAndNoBallast(t *testing.T) {
	patterns := ignorePatterns(t)
	for file, want := range map[string]bool{
		"go.mod": false, "cmd/leat/main.go": false, "agent/wire/shape/shapes.txt": false, "LICENSE": false,
		".git/config": true, ".tools/minio": true, "bin/leat": true, "data/run/bucket/x": true, "terraform/terraform.tfstate": true, ".env": true,
		"agent/agent_test.go": true, "objectstore/segment/testdata/golden/a": true, "README.md": true, "agent/PROTOCOL.md": true,
	} {
		if got := ignored(patterns, file); got != want {
			t.Errorf("%s is left out: %v", file, got)
		}
	}
}
