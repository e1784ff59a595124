package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"xexit/internal/ending"
)

func psCommand(env Env) *cobra.Command {
	var req ending.Request
	var asJSON bool
	c := &cobra.Command{
		Use:   "ps",
		Short: "your sessions, what belongs to each and why, and what would happen to it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			host := ending.ThisHost(env.Environ, env.Self)
			var plans []ending.Plan
			var err error
			if req.Session != "" {
				var p ending.Plan
				p, err = host.Look(c.Context(), req)
				plans = []ending.Plan{p}
			} else {
				plans, err = host.Sessions(c.Context(), req)
			}
			if err != nil {
				return lookError(err)
			}
			if len(plans) == 0 && !asJSON {
				fmt.Fprintln(env.Stdout, "no session is watched")
				return nil
			}
			return showPlans(env, plans, asJSON, "would be")
		},
	}
	c.Flags().StringVar(&req.Session, "session", "", "only this session: `ID`, or its beginning")
	c.Flags().StringVar(&req.Config, "config", "", "configuration `FILE` instead of the system's")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
