// Package javatools runs Apache Kafka's own Java programs: its command-line tools against any address, and a real
// single-node broker to record facts from and to try tests against. It starts processes for tests and recorders only;
// it must never be imported by what ships.
//
// The jars are those that cmd/interop/setup copies into .tools/kafka/libs.
package javatools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/leat-stream/leat/localstack/proc"
)

// Tool is the main class of one of Apache Kafka's programs.
type Tool string

// The programs, beside the name of the shell script that a Kafka distribution wraps each in.
const (
	Topics             Tool = "org.apache.kafka.tools.TopicCommand"                        // kafka-topics
	Configs            Tool = "kafka.admin.ConfigCommand"                                  // kafka-configs
	ConsumerGroups     Tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand" // kafka-consumer-groups
	GetOffsets         Tool = "org.apache.kafka.tools.GetOffsetShell"                      // kafka-get-offsets
	APIVersions        Tool = "org.apache.kafka.tools.BrokerApiVersionsCommand"            // kafka-broker-api-versions
	ConsoleProducer    Tool = "org.apache.kafka.tools.ConsoleProducer"                     // kafka-console-producer
	ConsoleConsumer    Tool = "org.apache.kafka.tools.consumer.ConsoleConsumer"            // kafka-console-consumer
	ProducerPerf       Tool = "org.apache.kafka.tools.ProducerPerformance"                 // kafka-producer-perf-test
	ConsumerPerf       Tool = "org.apache.kafka.tools.ConsumerPerformance"                 // kafka-consumer-perf-test
	VerifiableProducer Tool = "org.apache.kafka.tools.VerifiableProducer"                  // kafka-verifiable-producer
	VerifiableConsumer Tool = "org.apache.kafka.tools.VerifiableConsumer"                  // kafka-verifiable-consumer
	storage            Tool = "kafka.tools.StorageTool"                                    // kafka-storage
	broker             Tool = "kafka.Kafka"                                                // kafka-server-start
)

// ErrMissing says that Java or the jars are not there and that cmd/interop/setup brings them.
var ErrMissing = errors.New("java or .tools/kafka/libs is missing: run cmd/interop/setup")

// Kit is a Java runtime and a class path. It is immutable and safe for concurrent use.
type Kit struct {
	java string
	libs string
}

// Find looks for Java on the PATH and for the jars in .tools/kafka/libs of the module that holds the working directory.
// It returns an error that wraps ErrMissing when either is not there.
func Find() (*Kit, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	root, err := proc.Root()
	if err != nil {
		return nil, err
	}
	libs := filepath.Join(root, ".tools", "kafka", "libs")
	if _, err := os.Stat(libs); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return &Kit{java: java, libs: libs}, nil
}

// Output is what a finished tool wrote.
type Output struct {
	Stdout string
	Stderr string
}

// stopTimeout is how long a program may take to end after SIGTERM before it is killed.
const stopTimeout = 10 * time.Second

// Command prepares tool with args and a heap of at most heapMiB. The process is told to end with SIGTERM when ctx is
// done, is killed after stopTimeout, and dies with this process, whatever becomes of it.
func (k *Kit) Command(ctx context.Context, heapMiB int, tool Tool, args ...string) *exec.Cmd {
	jvm := []string{
		fmt.Sprintf("-Xmx%dm", heapMiB),
		"-XX:+UseSerialGC",
		"-XX:TieredStopAtLevel=1", // these run for seconds: start-up matters more than peak speed
		"-XX:SharedArchiveFile=" + filepath.Join(k.libs, "..", "classes.jsa"), // Java ignores one that does not fit …
		"-Xlog:disable", "-Xlog:all=warning:stderr", // which it would say among what a tool prints
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Dlog4j2.StatusLogger.level=OFF",
		"-cp", filepath.Join(k.libs, "*"),
		string(tool),
	}
	cmd := exec.CommandContext(ctx, k.java, append(jvm, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	proc.DieWithParent(cmd)
	return cmd
}

// Run runs tool to its end with stdin (nil means none) and returns what it wrote, also when it failed.
func (k *Kit) Run(ctx context.Context, stdin io.Reader, tool Tool, args ...string) (Output, error) {
	var stdout, stderr bytes.Buffer
	cmd := k.Command(ctx, 256, tool, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	out := Output{Stdout: stdout.String(), Stderr: stderr.String()}
	if err != nil {
		return out, fmt.Errorf("%s: %w: %s", tool, err, lastBytes(out.Stderr, 2000))
	}
	return out, nil
}

// lastBytes returns the end of s, at most n bytes of it: a Java stack trace names its cause last.
func lastBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}
