package cli

import (
	"errors"
	"fmt"
	"os/signal"
	"os/user"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xexit/internal/demo"
	"xexit/internal/engine"
	"xexit/internal/term"
)

func demoCommand(env Env) *cobra.Command {
	o := demo.Options{Self: env.Self, Out: env.Stdout}
	c := &cobra.Command{
		Use:   "demo",
		Short: "see it work, on displays of its own; harms nothing",
		Long: `Start two sessions full of stubborn processes on two built-in displays, pull the
cable of one, and show what xexit does and how long it takes. Needs no X server
and no privilege. Everything is below this process and in a directory of its
own; nothing else on the machine is looked at or touched. The exit status is 0
only if all that it claims was proved.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Grace <= 0 {
				return usage(fmt.Errorf("--grace %s: a positive time is needed", o.Grace))
			}
			o.Small = smallBinary(env)
			o.Style = term.NewStyle(isTerminal(env.Stdout), env.getenv)
			o.User = "this user"
			if u, err := user.Current(); err == nil {
				o.User = u.Username
			}
			// PIPE too: a reader that leaves (| head) must not leave the rest behind.
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
			defer stop()
			err := demo.Run(ctx, o)
			switch {
			case err == nil:
				return nil
			case ctx.Err() != nil && errors.Is(err, ctx.Err()):
				return exitError{engine.ExitFailed, errors.New("interrupted; everything of the demo was ended")}
			}
			return failed(err)
		},
	}
	c.Flags().DurationVar(&o.Grace, "grace", time.Second, "`time` between the polite signals and SIGKILL")
	return c
}
