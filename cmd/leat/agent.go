package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/leat-stream/leat/agent"
)

// levels of --log-level.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// formats of --log-format.
var formats = map[string]func(io.Writer, *slog.HandlerOptions) slog.Handler{
	"text": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) },
	"json": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) },
}

// logger is the log that the options, which are valid, ask for.
func logger(o *options, w io.Writer) *slog.Logger {
	return slog.New(formats[o.logFormat](w, &slog.HandlerOptions{Level: levels[o.logLevel]}))
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
	return agent.Live(ctx, o.agent, logger(o, os.Stderr))
}
