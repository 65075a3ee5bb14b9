// Command leat is Leat's one binary: it runs an agent, and helps the people who run agents. It parses, builds and runs; what
// anything does is in the packages that it calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "leat:", oneLine(err))
		os.Exit(1)
	}
}

// root is the command line.
func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leat",
		Short: "A Kafka-compatible streaming service that keeps every byte in object storage",
		Long: "Leat is a Kafka-compatible streaming service that keeps every byte in object storage.\n" +
			"Its agents are stateless: start one, point any Kafka client at it, lose it at any moment.",
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no command; try `leat agent`, or `leat --help`")
		},
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(agentCommand(), configCommand(), doctorCommand(), healthCommand(), inspectCommand(), versionCommand())
	return cmd
}

// oneLine makes one line of errors that were joined.
func oneLine(err error) string {
	text := []byte(err.Error())
	for i, c := range text {
		if c == '\n' {
			text[i] = ';'
		}
	}
	return string(text)
}
