package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"xexit/internal/engine"
)

// watchCommand documents `xexit watch`, which lives in the small binary beside
// this one so that a watcher stays small; asked for here, it is run there.
func watchCommand(env Env) *cobra.Command {
	return delegate(env, &cobra.Command{
		Use:   "watch [flags] [-- PROGRAM [ARG...]]",
		Short: "watch this session's display; when it is gone run PROGRAM, or end the session",
		Long: `Watch this session's display in the background. When it is gone run PROGRAM
once, with the session's environment and the XEXIT_* variables; without PROGRAM
do what 'xexit end' does.`,
	})
}

// sessionCommand documents `xexit session`, like watchCommand.
func sessionCommand(env Env) *cobra.Command {
	return delegate(env, &cobra.Command{
		Use:   "session [flags] -- CMD [ARG...]",
		Short: "start CMD as a session below xexit: nothing that it leaves behind escapes",
		Long: `Start CMD as a session of its own below xexit, a child subreaper: whatever CMD
starts stays below it, also 'env -i' and double forks. When CMD ends, or the
display is gone, the session is ended; the exit status is CMD's.`,
	})
}

// smallBinary is xexit for this xexit-main: beside it, or as installed.
func smallBinary(env Env) string {
	small := filepath.Join(filepath.Dir(env.Self), "xexit")
	if _, err := os.Stat(small); err != nil {
		small = filepath.Join(filepath.Dir(env.Self), "../../bin/xexit")
	}
	return small
}

func delegate(env Env, c *cobra.Command) *cobra.Command {
	c.DisableFlagParsing = true
	c.RunE = func(c *cobra.Command, args []string) error {
		run := exec.CommandContext(c.Context(), smallBinary(env), append([]string{c.Name()}, args...)...)
		run.Stdin, run.Stdout, run.Stderr, run.Env = env.Stdin, env.Stdout, env.Stderr, env.Environ
		err := run.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exitError{status: engine.Exit(exit.ExitCode())}
		}
		if err != nil {
			return failed(fmt.Errorf("%w (xexit and xexit-main belong together: is the installation complete?)", err))
		}
		return nil
	}
	return c
}
