package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/leat-stream/leat/metadata/journal"
	"github.com/leat-stream/leat/metadata/state"
	"github.com/leat-stream/leat/objectstore/segment"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and the levels of the formats it reads and writes",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "leat %s %s %s/%s\nsegment level %d, journal level %d, state level %d\n",
				version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, segment.Level, journal.Level, state.Level)
		},
	}
}

// stamped is the version of a build that has no repository to ask, as an image's: -ldflags "-X main.stamped=v1.2.3".
var stamped string

// version is what the build was told, the module's version, or the commit that the binary was built from.
func version() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel-" + commit[:min(12, len(commit))] + dirty
}
