//go:build image

package image

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leat-stream/leat/localstack/proc"
)

// built is what the Dockerfile's first stage makes, once for all tests.
var built struct {
	once sync.Once
	dir  string // has src, the context; and out, its /out
	err  error
}

const stampedVersion = "v0.0.0-image.test"

// build does what the stage build does: COPY . . as .dockerignore lets it, and its go build, word for word.
func build(t *testing.T) (dir string) {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "leat-image"); built.err != nil {
			return
		}
		// A user of the image must be able to reach its root folder below this one.
		if built.err = os.Chmod(built.dir, 0o755); built.err != nil {
			return
		}
		if built.err = copyContext(ignorePatterns(t), filepath.Join(built.dir, "src")); built.err != nil {
			return
		}
		_, stages := readDockerfile(t)
		var script strings.Builder
		script.WriteString("set -eu\n")
		for _, run := range stages[0].all("RUN") {
			command := regexp.MustCompile(`--mount=\S+\s+`).ReplaceAllString(run, "")
			if command != "go mod download" { // what is downloaded already
				script.WriteString(strings.ReplaceAll(command, "/out/", filepath.Join(built.dir, "out")+"/") + "\n")
			}
		}
		if built.err = os.Mkdir(filepath.Join(built.dir, "out"), 0o755); built.err != nil {
			return
		}
		cmd := exec.Command("sh", "-c", script.String())
		cmd.Dir = filepath.Join(built.dir, "src")
		cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION="+stampedVersion, "GOPROXY=off", "GOFLAGS=-mod=readonly")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%s: %w\n%s", script.String(), err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// copyContext copies what an engine would send to the build.
func copyContext(patterns []string, to string) error {
	return filepath.WalkDir(moduleRoot, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := filepath.Rel(moduleRoot, name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && ignored(patterns, file):
			return fs.SkipDir // no pattern here brings back what is in a folder left out
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, file), 0o755)
		case ignored(patterns, file) || !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, file), text, 0o644)
	})
}

func TestBinaryIsStatic(t *testing.T) {
	file := filepath.Join(build(t), "out", "leat")
	binary, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a segment %v: it needs a loader that the image has not", segment.Type)
		}
	}
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it needs %v, %v", libraries, err)
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["CGO_ENABLED"] != "0" || settings["-trimpath"] != "true" {
		t.Errorf("built with %v", settings)
	}
	out, err := exec.Command(file, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "leat "+stampedVersion+" ") {
		t.Errorf("it says %q, %v", out, err)
	}
}

// container is one process in the image's root folder.
type container struct {
	process *proc.Process
	root    string
	env     []string // of processes that an engine would start in it, too
	user    string
}

// newContainer lays out the image in a folder, as the last stage's COPYs say, with the two files that engines add, and room for tmpfs.
func newContainer(t *testing.T, env []string) *container {
	t.Helper()
	dir := build(t)
	_, stages := readDockerfile(t)
	image := stages[1]
	root, err := os.MkdirTemp(dir, "root")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range image.all("COPY") {
		copyInto(t, dir, root, args)
	}
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		copyFile(t, file, filepath.Join(root, file), 0o644)
	}
	return &container{root: root, env: merged(image.env(), env), user: image.only(t, "USER")}
}

// copyInto is COPY --from=build [--chown=UID:GID] FROM TO.
func copyInto(t *testing.T, dir, root, args string) {
	t.Helper()
	match := regexp.MustCompile(`^--from=build (?:--chown=(\d+):(\d+) )?(\S+) (/\S+)$`).FindStringSubmatch(args)
	if match == nil {
		t.Fatalf("COPY %s: not understood", args)
	}
	from, to := match[3], filepath.Join(root, match[4])
	switch { // the build image's own files are this machine's
	case strings.HasPrefix(from, "/out/"):
		from = filepath.Join(dir, from)
	case strings.HasPrefix(from, "/src/"):
		from = filepath.Join(dir, from)
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatalf("COPY %s: %v", args, err)
	}
	if info.IsDir() {
		if err := os.Mkdir(to, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	} else {
		copyFile(t, from, to, info.Mode().Perm())
	}
	if match[1] != "" {
		uid, _ := strconv.Atoi(match[1])
		gid, _ := strconv.Atoi(match[2])
		if err := os.Chown(to, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

func copyFile(t *testing.T, from, to string, mode fs.FileMode) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, text, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// merged is the first environment with the second's variables instead of or beside its own.
func merged(first, second []string) []string {
	named := func(variable string) func(string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return func(other string) bool { return strings.HasPrefix(other, name+"=") }
	}
	all := slices.Clone(first)
	for _, variable := range second {
		all = append(slices.DeleteFunc(all, named(variable)), variable)
	}
	return all
}

// enter mounts a folder read-only, with the tmpfs that it is given, and becomes a command in it as the image's user with no way to more
// rights. Arguments: folder, UID:GID, mounts ("" or PATH:OPTIONS), command.
const enter = `set -eu
root=$1 user=$2 tmpfs=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro,nosuid,nodev "$root"
if [ -n "$tmpfs" ]; then mount -t tmpfs -o "nosuid,nodev,noexec,${tmpfs#*:}" tmpfs "$root${tmpfs%%:*}"; fi
exec setpriv --no-new-privs chroot --groups= --userspec="$user" "$root" "$@"`

func (c *container) command(ctx context.Context, tmpfs string, args ...string) *exec.Cmd {
	words := append([]string{"--mount", "--propagation", "private", "sh", "-c", enter, "sh", c.root, c.user, tmpfs}, args...)
	cmd := exec.CommandContext(ctx, "unshare", words...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	proc.DieWithParent(cmd)
	return cmd
}

// start runs the image's ENTRYPOINT with args, or its CMD if there are none. The process is killed at the end of the test.
func (c *container) start(t *testing.T, tmpfs string, args ...string) {
	t.Helper()
	_, stages := readDockerfile(t)
	if args == nil {
		args = list(t, stages[1].only(t, "CMD"))
	}
	cmd := c.command(context.Background(), tmpfs, append(list(t, stages[1].only(t, "ENTRYPOINT")), args...)...)
	process, err := proc.Start("the container", cmd)
	if err != nil {
		t.Fatal(err)
	}
	c.process = process
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("%v said:\n%s", args, process)
		}
	})
}

// healthy runs the image's HEALTHCHECK beside the agent, as an engine does.
func (c *container) healthy(t *testing.T) error {
	t.Helper()
	_, stages := readDockerfile(t)
	_, check, ok := strings.Cut(stages[1].only(t, "HEALTHCHECK"), " CMD ")
	if !ok {
		t.Fatal("HEALTHCHECK has no CMD")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := c.command(ctx, "", list(t, check)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// ready waits until the container is healthy.
func (c *container) ready(t *testing.T) {
	t.Helper()
	if err := c.process.Await(t.Context(), patience, func(context.Context) error { return c.healthy(t) }); err != nil {
		t.Fatal(err)
	}
}

// stop ends the container as an engine does, with the STOPSIGNAL (SIGTERM, as another test sees to), and wants it to have drained.
func (c *container) stop(t *testing.T) {
	t.Helper()
	if err := c.process.Stop(patience); err != nil {
		t.Fatal(err)
	}
}

// patience bounds every wait for something that must happen.
const patience = 2 * time.Minute
