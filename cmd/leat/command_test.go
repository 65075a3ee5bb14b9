package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/leat-stream/leat/agent"
	"github.com/leat-stream/leat/agent/wire"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
)

func TestWrongSettingsAreOneLine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("file", "not a folder")
	for _, c := range []struct {
		name string
		args []string
		env  []string
		want []string
	}{
		{"no command", nil, nil, []string{"leat agent"}},
		{"unknown command", []string{"frobnicate"}, nil, []string{"frobnicate"}},
		{"unknown flag", []string{"agent", "--nonsense"}, nil, []string{"--nonsense"}},
		{"stray argument", []string{"agent", "x"}, nil, []string{`"x"`}},
		{"flag without value", []string{"agent", "--store"}, nil, []string{"--store"}},
		{"bad bytes", []string{"agent", "--flush-bytes", "3x"}, nil, []string{"flush-bytes", "--flush-bytes", "3x", "8MiB"}},
		{"bad duration", []string{"agent", "--flush-interval", "soon"}, nil, []string{"flush-interval", "soon"}},
		{"bad number", []string{"agent", "--default-partitions", "1e9"}, nil, []string{"default-partitions", "1e9"}},
		{"no partitions", []string{"agent", "--default-partitions", "0"}, nil, []string{"partitions 0"}},
		{"bad boolean in the environment", []string{"agent"}, []string{"LEAT_AUTO_CREATE_TOPICS=perhaps"}, []string{"LEAT_AUTO_CREATE_TOPICS", "perhaps"}},
		{"bad level", []string{"agent", "--log-level", "loud"}, nil, []string{"loud", "debug, info, warn or error"}},
		{"bad format", []string{"agent", "--log-format", "xml"}, nil, []string{"xml", "text or json"}},
		{"bad address", []string{"agent", "--listen", "9092"}, nil, []string{"9092", "HOST:PORT"}},
		{"bad http address", []string{"agent", "--http", "nonsense"}, nil, []string{"nonsense"}},
		{"PROXY protocol v1 for health checks", []string{"agent", "--http", "127.0.0.1:0?proxy=v1"}, nil, []string{"127.0.0.1:0?proxy=v1", "?proxy=v2"}},
		{"bad peer address", []string{"agent", "--peer", "9600"}, nil, []string{"peer", "9600", "[BIND=]HOST:PORT"}},
		{"nothing to bind", []string{"agent", "--peer", "=a:9600"}, nil, []string{"peer", "[BIND=]HOST:PORT"}},
		{"no address for other agents", []string{"agent", "--peer", "127.0.0.1:0="}, nil, []string{"peer", "[BIND=]HOST:PORT"}},
		{"two addresses for other agents", []string{"agent", "--peer", "127.0.0.1:0=a:1=b:1"}, nil, []string{"peer", "[BIND=]HOST:PORT"}},
		{"every address for other agents", []string{"agent", "--peer", "127.0.0.1:0=0.0.0.0:9600"}, nil, []string{"peer", "0.0.0.0", "connect to"}},
		{"no port for other agents", []string{"agent", "--peer", "0.0.0.0:9600=10.0.0.5:0"}, nil, []string{"peer", `port "0"`}},
		{"advertised for nobody", []string{"agent", "--advertise", "outside=a:1"}, nil, []string{"outside"}},
		{"every address advertised", []string{"agent", "--advertise", "0.0.0.0:9092"}, nil, []string{"0.0.0.0"}},
		{"shared without an address", []string{"agent", "--advertise", "shared"}, nil, []string{"shared=HOST:PORT"}},
		{"shared with nobody", []string{"agent", "--advertise", "shared=a:1", "--advertise", "b:1"}, nil, []string{"every listener has an address of its own"}},
		{"a listener called shared", []string{"agent", "--listen", "shared=127.0.0.1:0"}, nil, []string{"shared", "name"}},
		{"PROXY protocol v1", []string{"agent", "--listen", "127.0.0.1:0?proxy=v1"}, nil, []string{"proxy=v2"}},
		{"unknown detail of a listener", []string{"agent", "--listen", "127.0.0.1:0?tls=true"}, nil, []string{"tls"}},
		{"bad age", []string{"agent", "--max-connection-age", "-1s"}, nil, []string{"max-connection-age", "auto"}},
		{"tiny cache", []string{"agent", "--cache-memory", "1MiB"}, nil, []string{"cache"}},
		{"unknown store", []string{"agent", "--store", "gopher://x"}, nil, []string{"gopher", "file, s3, minio or mem"}},
		{"no store", []string{"agent", "--store", ""}, nil, []string{"file:///dir"}},
		{"key in the URL", []string{"agent", "--store", "minio://me:secret@h:1/b"}, nil, []string{"credentials do not belong"}},
		{"store below a file", []string{"agent", "--store", "file://" + file + "/bucket"}, nil, []string{file}},
		{"bad cluster", []string{"agent", "--store", "mem:", "--cluster", "a/b"}, nil, []string{"a/b"}},
		{"bolt beside s3", []string{"agent", "--store", "s3://b?region=r", "--journal", "bolt:///x"}, nil, []string{"bolt", "may be wiped", "bucket:"}},
		{"mem journal beside s3", []string{"agent", "--store", "s3://b?region=r", "--journal", "mem:"}, nil, []string{"mem:", "bucket:"}},
		{"mem journal beside a folder", []string{"agent", "--store", "file://" + dir + "/b", "--journal", "mem:"}, nil, []string{"mem:", "lost"}},
		{"etcd beside mem", []string{"agent", "--store", "mem:", "--journal", "etcd://h:1/p"}, nil, []string{"outlives", "mem:"}},
		{"etcd without a prefix", []string{"agent", "--store", "file://" + dir + "/b", "--journal", "etcd://h:1,i:2"}, nil, []string{"prefix", "etcd://host:port"}},
		{"TLS files without TLS", []string{"agent", "--store", "file://" + dir + "/b", "--journal", "etcd://127.0.0.1:1/p?ca=x"}, nil, []string{"ca=", "etcds://"}},
		{"no file", []string{"agent", "--config", dir + "/nothing.yaml"}, nil, []string{"nothing.yaml"}},
		{"bad YAML", []string{"agent", "--config", write("bad.yaml", "listen: [a\n")}, nil, []string{"bad.yaml", "line"}},
		{"unknown setting", []string{"agent"}, []string{"LEAT_CONFIG=" + write("unknown.yaml", "store: \"mem:\"\nlissten: x\n")}, []string{"unknown.yaml", "line 2", "lissten"}},
		{"a map for a value", []string{"agent", "--config", write("map.yaml", "store: {a: b}\n")}, nil, []string{"map.yaml", "line 1", "store"}},
		{"a list for a value", []string{"agent", "--config", write("list.yaml", "store: [a, b]\n")}, nil, []string{"list.yaml", "one value"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args
			if len(args) > 0 && args[0] == "agent" { // free ports unless the case says otherwise
				args = []string{"agent"}
				for _, flag := range []string{"--listen", "--http"} {
					if !slices.Contains(c.args, flag) {
						args = append(args, flag, "127.0.0.1:0")
					}
				}
				args = append(args, c.args[1:]...)
			}
			p, code := run(t, c.env, args...)
			oneError(t, p, code, c.want...)
		})
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.IsDir() {
			t.Errorf("an agent that could not start left the folder %s", e.Name())
		}
	}
}

func TestBucketThatCannotServeIsOneLine(t *testing.T) {
	server := miniotest.Start(t)
	const none = "127.0.0.1:1" // nothing listens there
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"no bucket, s3", nil, []string{"--store", strings.Replace(server.S3URL("p"), "s3://leat", "s3://nowhere", 1)}, "no such bucket"},
		{"no bucket, minio", nil, []string{"--store", "minio://" + server.Address + "/nowhere/p?tls=false"}, "no such bucket"},
		{"wrong key, s3", []string{"AWS_SECRET_ACCESS_KEY=wrong"}, []string{"--store", server.S3URL("p")}, "access denied"},
		{"wrong key, minio", []string{"AWS_SECRET_ACCESS_KEY=wrong"}, []string{"--store", server.MinioURL("p")}, "access denied"},
		{"nobody there", nil, []string{"--store", "minio://" + none + "/leat/p?tls=false"}, none},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, code := run(t, c.env, agentArgs(c.args...)...)
			oneError(t, p, code, c.want)
		})
	}
}

func TestAgentThatCannotStartDisturbsNobody(t *testing.T) {
	server := miniotest.Start(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	t.Run("ports", func(t *testing.T) {
		store := []string{"--store", server.S3URL("ports")}
		first := startAgent(t, store...)
		for _, args := range [][]string{
			{"--listen", first.addr},
			{"--http", first.http},
			{"--listen", "inside=127.0.0.1:0", "--listen", "outside=" + taken.Addr().String()},
			{"--listen", "127.0.0.1:0", "--cache-dir", "/dev/null/cache"},
		} {
			p, code := run(t, nil, agentArgs(append(args, store...)...)...)
			oneError(t, p, code)
		}
		produceOne(t, first.addr, "still here") // commits: it still leads
		first.drain()
	})
	t.Run("bolt", func(t *testing.T) {
		dir := t.TempDir()
		args := []string{"--store", "file://" + dir + "/bucket", "--journal", "bolt://" + dir + "/journal"}
		first := startAgent(t, args...)
		p, code := run(t, nil, agentArgs(args...)...)
		oneError(t, p, code, dir+"/journal", "another process")
		p, code = run(t, nil, agentArgs("--store", "file://"+dir+"/other", args[2], args[3])...)
		oneError(t, p, code, dir+"/journal")
		produceOne(t, first.addr, "still here")
		first.drain()
		// A journal that belongs to another bucket is refused, and so is another journal for this bucket.
		p, code = run(t, nil, agentArgs("--store", "file://"+dir+"/other", args[2], args[3])...)
		oneError(t, p, code)
		p, code = run(t, nil, agentArgs(args[0], args[1], "--journal", "bucket:")...)
		oneError(t, p, code, "bolt")
		startAgent(t, args...).drain()
	})
}

func TestFlagsWinOverEnvironmentOverFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leat.yaml")
	if err := os.WriteFile(path, []byte("zone: from-file\ncluster: from-file\nflush-interval: 1s\nlisten: [in=127.0.0.1:1, out=127.0.0.1:2]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, code := run(t, []string{"LEAT_CONFIG=" + path, "LEAT_ZONE=from-env", "LEAT_CLUSTER=from-env", "LEAT_ADVERTISE=in=a:1,out=b:2"},
		"config", "--zone", "from-flag", "--store", "s3://b?region=r")
	if code != 0 || p.stderr.String() != "" {
		t.Fatalf("exit code %d: %s", code, p.stderr.String())
	}
	for _, want := range []string{
		`zone +from-flag +flag --zone`, `cluster +from-env +environment LEAT_CLUSTER`, `flush-interval +1s +file ` + regexp.QuoteMeta(path),
		`listen +in=127.0.0.1:1,out=127.0.0.1:2 +file`, `advertise +in=a:1,out=b:2 +environment LEAT_ADVERTISE`,
		`journal +bucket: +default for this store`, `flush-bytes +8.0MiB +default`, `name +"" +default`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(p.stdout.String()) {
			t.Errorf("no line %s in\n%s", want, p.stdout.String())
		}
	}
	lines := strings.Count(p.stdout.String(), "\n")
	if lines != len(settings)+1 || len(settings) >= 40 {
		t.Errorf("%d lines for %d settings; fewer than 40 are allowed", lines, len(settings))
	}
}

func TestEveryListenerAdvertisesItsOwnAddress(t *testing.T) {
	agent := startAgent(t, "--store", "mem:", "--listen", "inside=127.0.0.1:0", "--listen", "outside=127.0.0.1:0",
		"--advertise", "outside=leat.example.com:9092")
	m := regexp.MustCompile(`inside=([^,]+),outside=([^",]+)`).FindStringSubmatch(agent.addr)
	if m == nil {
		t.Fatalf("listens on %s", agent.addr)
	}
	told := func(addr string) string {
		brokers, err := kadm.NewClient(client(t, addr)).ListBrokers(bounded(t))
		if err != nil || len(brokers) != 1 {
			t.Fatal(brokers, err)
		}
		return fmt.Sprintf("%s:%d", brokers[0].Host, brokers[0].Port)
	}
	if got := told(m[1]); got != m[1] {
		t.Errorf("inside is told %s, want %s", got, m[1])
	}
	if got := told(m[2]); got != "leat.example.com:9092" {
		t.Errorf("outside is told %s", got)
	}
	agent.drain()
}

func TestDoctor(t *testing.T) {
	server := miniotest.Start(t)
	running := startAgent(t, "--store", server.S3URL("doctor"))
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		want []string
	}{
		{"good", nil, []string{"--store", server.S3URL("doctor"), "--listen", running.addr}, 0,
			[]string{"ok    settings", "ok    journal            bucket:", "ok    bucket ", "conditional writes work", "ok    clock", "ok    listener default   " + running.addr + " answers"}},
		{"good folder", nil, []string{"--store", "file://" + t.TempDir(), "--listen", "127.0.0.1:0"}, 0, []string{"ok    bucket", "only clients on this machine"}},
		{"no bucket", nil, []string{"--store", "minio://" + server.Address + "/nowhere?tls=false"}, 1, []string{"FAIL  bucket", "no such bucket", "→ create the bucket"}},
		{"wrong key", []string{"AWS_SECRET_ACCESS_KEY=wrong"}, []string{"--store", server.MinioURL("x")}, 1, []string{"FAIL  bucket", "→ check the credentials"}},
		{"nobody there", nil, []string{"--store", "minio://127.0.0.1:1/leat?tls=false"}, 1, []string{"FAIL  bucket", "→ check endpoint"}},
		{"bad store", nil, []string{"--store", "gopher:"}, 1, []string{"FAIL  store"}},
		{"bad journal", nil, []string{"--store", server.MinioURL("x"), "--journal", "bolt:///x"}, 1, []string{"FAIL  journal", "may be wiped"}},
		{"no name", nil, []string{"--store", "mem:", "--advertise", "nowhere.invalid:1"}, 1, []string{"FAIL  listener default", "nowhere.invalid"}},
		{"every address", nil, []string{"--store", "mem:", "--listen", "0.0.0.0:0"}, 1, []string{"0.0.0.0", "--advertise"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, code := run(t, c.env, append([]string{"doctor"}, c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(p.stdout.String(), want) {
					t.Errorf("%q is missing in\n%s%s", want, p.stdout.String(), p.stderr.String())
				}
			}
			if code != 0 {
				oneError(t, p, code, "checks failed")
			}
		})
	}
	produceOne(t, running.addr, "the patient is well")
	running.drain()
}

func TestInspectEveryKindOfObject(t *testing.T) {
	dir := t.TempDir() + "/bucket"
	cfg := agent.Default()
	cfg.Store, cfg.Journal, cfg.HTTP, cfg.SnapshotBytes, cfg.Name = "file://"+dir, "bucket:", "", 2000, "agent"
	cfg.Wire.Listeners = []wire.Listener{{Name: "default", Address: "127.0.0.1:0"}}
	cfg.Tune()
	a, err := agent.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	keys := func(pattern string) []string {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		return found
	}
	eventually(t, "there are snapshots", func() bool {
		produceOne(t, a.Addr("default"), "something to look at")
		return len(keys("leat/snapshot/*-manifest-*")) > 0 && len(keys("leat/snapshot/*-shard-*")) > 0
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	journal := keys("leat/journal/*")
	type object struct {
		name string
		key  string
		want []string
	}
	cases := []object{
		{"head", "leat/head", []string{"boundary", "crc32c    right"}},
		{"fence", "leat/journal/00000000000000000001", []string{"kind      fence", "leader: session", `agent "agent"`}},
		{"entry", journal[len(journal)-2], []string{"kind      commands", "command 0: session", "crc32c    right"}},
		{"segment", keys("leat/data/*/*")[0], []string{"kind mixed", "run 0: partition 0", "batch of", "fits", "footer crc32c"}},
		{"manifest", keys("leat/snapshot/*-manifest-*")[0], []string{"snapshot manifest, level 1", ": shard "}},
	}
	for i, key := range keys("leat/snapshot/*-shard-*") { // one of each table at least
		cases = append(cases, object{fmt.Sprint("shard ", i), key, []string{"shard of table"}})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			key := strings.TrimPrefix(c.key, dir+"/")
			p, code := run(t, nil, "inspect", "--store", cfg.Store, key)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, p.stderr.String())
			}
			for _, want := range c.want {
				if !strings.Contains(p.stdout.String(), want) {
					t.Errorf("%q is missing in\n%s", want, p.stdout.String())
				}
			}
			local, code := run(t, nil, "inspect", filepath.Join(dir, key))
			if code != 0 || local.stdout.String() != p.stdout.String() {
				t.Errorf("as a local file: exit code %d, %s%s\nfrom the store:\n%s", code, local.stdout.String(), local.stderr.String(), p.stdout.String())
			}
			// Half of it must be an error, or a dump that says so, and never a crash.
			b, err := os.ReadFile(filepath.Join(dir, key))
			if err != nil {
				t.Fatal(err)
			}
			half := filepath.Join(t.TempDir(), "half")
			if err := os.WriteFile(half, b[:len(b)/2], 0o600); err != nil {
				t.Fatal(err)
			}
			p, code = run(t, nil, "inspect", half)
			oneError(t, p, code)
		})
	}
	p, code := run(t, nil, "inspect", "--store", cfg.Store, "leat/nothing")
	oneError(t, p, code, "leat/nothing", "not found")
	p, code = run(t, nil, "inspect", executable)
	oneError(t, p, code, "neither a segment")
}

func TestVersion(t *testing.T) {
	p, code := run(t, nil, "version")
	if code != 0 || !regexp.MustCompile(`^leat \S+ go\S+ \w+/\w+\nsegment level \d+, journal level \d+, state level \d+\n$`).MatchString(p.stdout.String()) {
		t.Errorf("exit code %d: %s%s", code, p.stdout.String(), p.stderr.String())
	}
}
