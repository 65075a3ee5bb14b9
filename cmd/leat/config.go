package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/leat-stream/leat/agent"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print every setting with its value and where that came from",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, sources, err := load(cmd.Flags())
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
			for i, s := range settings {
				value, from := s.value(o), sources[i].from
				if s.name == "journal" && value == "" {
					if value, err = agent.DefaultJournal(o.agent.Store); err != nil {
						return err
					}
					from = "default for this store"
				}
				if value == "" {
					value = `""`
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.name, value, from)
			}
			return w.Flush()
		},
	}
	addFlags(cmd.Flags())
	return cmd
}
