// Package cli is the command line of xexit-main: one file a verb, flags into
// typed requests, results into text for people or JSON for programs. It
// decides nothing about processes and touches none.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"xexit/internal/demo"
	"xexit/internal/displayd"
	"xexit/internal/ending"
	"xexit/internal/engine"
	"xexit/internal/history"
	"xexit/internal/hook"
	"xexit/internal/ipc"
	"xexit/internal/pamlogin"
	"xexit/internal/term"
)

// Env is what the commands see of the world outside.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string
	Self           string // this program, to run its hidden verbs
	Root           string // of the file system, for the daemon's records; "": /
	Version        string
	Daemon         ipc.Client // zero: the system's

	Args []string // as given to Main
}

// Main runs one command and returns its exit status: 0 done and verified, 1
// failed, 2 usage or configuration, 3 something could not be ended or not
// verified. args excludes the program's name.
func Main(ctx context.Context, args []string, env Env) int {
	// The stages that xexit runs of itself stay clear of the flag library:
	// they start often, and one of them becomes the hook.
	if len(args) > 0 {
		switch args[0] {
		case hook.StageVerb:
			return hook.StageMain(args[1:])
		case hook.StageInputVerb:
			return hook.StageInputMain(args[1:])
		case history.AppendVerb:
			return history.AppendMain(args[1:], env.Stdin)
		case pamlogin.Verb:
			return pamlogin.Main(args[1:])
		case ending.EndLoginVerb:
			return endLogin(ctx, env)
		case ending.LookLoginVerb:
			return lookLogin(ctx, env)
		case displayd.WorkerVerb:
			return displayd.WorkerMain(args[1:], env.Stderr)
		case displayd.OpenerVerb:
			return displayd.OpenerMain(args[1:], env.Stderr)
		case demo.RoleVerb:
			return demo.RoleMain(args[1:])
		}
	}
	env.Args = args
	out := &output{w: env.Stdout, terminal: isTerminal(env.Stdout)}
	env.Stdout = out
	root := newRoot(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && out.err != nil {
		err = failed(fmt.Errorf("write the output: %w", out.err))
	}
	var status exitError
	switch {
	case err == nil:
		return int(engine.ExitDone)
	case errors.As(err, &status):
		if status.err != nil {
			complain(env, status.err)
		}
		return int(status.status)
	default: // cobra's own: an unknown verb or flag
		complain(env, err)
		fmt.Fprintln(env.Stderr, "try: xexit help")
		return int(engine.ExitUsage)
	}
}

func complain(env Env, err error) {
	fmt.Fprintf(env.Stderr, "xexit: %s\n", term.EscapeText(err.Error()))
}

// exitError carries an exit status past the flag library; err may be nil where
// the command has said everything already.
type exitError struct {
	status engine.Exit
	err    error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

func failed(err error) error { return exitError{engine.ExitFailed, err} }
func usage(err error) error  { return exitError{engine.ExitUsage, err} }

func newRoot(env Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "xexit",
		Short: "ends what a login session leaves behind",
		Long: `xexit notices that a session has ended (a logout, a crashed X server, a thin
client switched off, a pulled cable), runs the site's exit scripts, ends what
the session left behind, politely first and then for certain, and says what it
did and why. Other sessions, also of the same user, are not touched.

  xexit PROGRAM [ARG...]     watch this session's display in the background and
                             run PROGRAM when it is gone`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.NoArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.AddCommand(
		watchCommand(env), sessionCommand(env),
		endCommand(env), psCommand(env), logCommand(env),
		checkCommand(env), doctorCommand(env), demoCommand(env), daemonCommand(env), versionCommand(env), recordCommand(env),
	)
	return root
}

func versionCommand(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(env.Stdout, "xexit %s\n", env.Version)
			return nil
		},
	}
}

// getenv is os.Getenv over env: what a command sees can be given to it.
func (e Env) getenv(name string) string { return ending.Getenv(e.Environ, name) }

// output remembers the first error of standard output, so that no command has
// to ask at every line whether its reader is still there.
type output struct {
	w        io.Writer
	terminal bool
	err      error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// isTerminal reports whether w is a terminal; what is no file is none.
func isTerminal(w io.Writer) bool {
	switch w := w.(type) {
	case *output:
		return w.terminal
	case *os.File:
		return term.IsTerminal(w)
	}
	return false
}
