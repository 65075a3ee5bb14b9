package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/leat-stream/leat/agent"
)

// levels of --log-level.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run an agent until it is told to stop (SIGTERM drains it)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, _, err := load(cmd.Flags())
			if err != nil {
				return err
			}
			return runAgent(cmd.Context(), o)
		},
	}
	addFlags(cmd.Flags())
	return cmd
}

func runAgent(ctx context.Context, o *options) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: levels[o.logLevel]}))
	return agent.Live(ctx, o.agent, log)
}
