package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xexit/internal/ending"
	"xexit/internal/engine"
	"xexit/internal/session"
	"xexit/internal/term"
)

// endFlags are the flags of `xexit end` as they were given.
type endFlags struct {
	session, reason, scope, config string
	progress                       string
	grace                          time.Duration
	dryRun, verbose, json          bool
	waiter                         int
}

func endCommand(env Env) *cobra.Command {
	var f endFlags
	c := &cobra.Command{
		Use:   "end",
		Short: "end a session now: hooks, then what belongs to it",
		Long: `Run the exit scripts in /etc/Xexit.d, then end what belongs to the session:
politely, and after the grace for certain. Without --session it is the session
that the environment names. EndXSession is this command.

Where the daemon runs, --session may also be the id of a login of yours; root
may name anybody's. The daemon ends it then, as its configuration says, and
goes on with that if this command is interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			req, err := f.request()
			if err != nil {
				return usage(err)
			}
			return f.run(c.Context(), env, req)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.session, "session", "", "`ID` of the session, or its beginning (xexit ps lists them)")
	fs.StringVar(&f.reason, "reason", "", "why it ended: `REASON` is logout, server-gone, link-lost, blind, requested, leader-exit, limit or other")
	fs.StringVar(&f.scope, "scope", "", "`session`, or user: also the rest of the user's processes if he has no other session")
	fs.DurationVar(&f.grace, "grace", 0, "`time` between the polite signals and SIGKILL")
	fs.StringVar(&f.config, "config", "", "configuration `FILE` instead of the system's")
	fs.BoolVar(&f.dryRun, "dry-run", false, "print what would be done and why, and do nothing")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "print each signal and each exit as it happens")
	fs.BoolVar(&f.json, "json", false, "print JSON")
	fs.StringVar(&f.progress, "progress", "", "append each step to `FILE`, a FIFO perhaps, as a line of JSON when it happens")
	fs.IntVar(&f.waiter, "waiter", 0, "process that waits for this one")
	if err := fs.MarkHidden("waiter"); err != nil {
		panic(err) // the flag is defined one line above
	}
	return c
}

func (f *endFlags) request() (ending.Request, error) {
	r := ending.Request{Session: f.session, Grace: f.grace, Config: f.config, Waiter: f.waiter}
	if f.grace < 0 {
		return r, fmt.Errorf("--grace %s: a time cannot be negative", f.grace)
	}
	if f.reason != "" {
		reason, err := session.ParseReason(f.reason)
		if err != nil {
			return r, fmt.Errorf("--reason: %w", err)
		}
		r.Reason = reason
	}
	if f.scope != "" {
		scope, err := session.ParseScope(f.scope)
		if err != nil {
			return r, fmt.Errorf("--scope: %w", err)
		}
		r.Scope = scope
	}
	return r, nil
}

func (f *endFlags) run(ctx context.Context, env Env, req ending.Request) error {
	host := ending.ThisHost(env.Environ, env.Self)
	if f.dryRun {
		plan, err := host.Look(ctx, req)
		if err != nil {
			return lookError(err)
		}
		return showPlans(env, []ending.Plan{plan}, f.json, "would be")
	}
	if done, err := f.endByDaemon(ctx, env, req); done {
		return err
	}
	if !ending.Detach() {
		return f.detach(env)
	}
	defer f.follow(env, &req)()
	result, err := host.End(ctx, req, logger(env, f.verbose))
	if err != nil {
		return endError(err)
	}
	if f.json {
		if err := writeJSON(env, result.Record); err != nil {
			complain(env, err) // what was done counts more
		}
	} else {
		showRecord(env, result.Record, term.NewStyle(isTerminal(env.Stdout), env.getenv))
	}
	if result.Exit != engine.ExitDone {
		return exitError{status: result.Exit}
	}
	return nil
}

// follow has the steps of the end told as the flags say, until it is called off.
func (f *endFlags) follow(env Env, req *ending.Request) (off func()) {
	if f.verbose {
		req.Progress = func(s ending.Step) { showStep(env, s) }
	}
	if f.progress == "" {
		return func() {}
	}
	p, err := openProgress(f.progress, req.Progress)
	if err != nil { // no reason to end nobody
		complain(env, err)
		return func() {}
	}
	req.Progress = p.step
	return p.close
}

// detach runs this command again in a session of its own and waits for it: the
// terminal from which the end was asked for may be part of what ends.
func (f *endFlags) detach(env Env) error {
	args := append([]string{}, env.Args...)
	args = append(args, "--waiter", strconv.Itoa(os.Getpid()))
	run := exec.Command(env.Self, args...)
	run.Stdin, run.Stdout, run.Stderr, run.Env = nil, env.Stdout, env.Stderr, env.Environ
	run.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	defer ending.HoldSignals(slog.New(slog.DiscardHandler))()
	err := run.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exitError{status: engine.Exit(exit.ExitCode())}
	case err != nil:
		return failed(fmt.Errorf("the process that ends the session: %w", err))
	}
	return nil
}

// endError gives an error of package ending its exit status.
func endError(err error) error {
	switch {
	case errors.Is(err, ending.ErrEnded):
		return exitError{engine.ExitDone, nil}
	case errors.Is(err, ending.ErrUsage):
		return usage(err)
	}
	return failed(err)
}

// lookError is endError for commands that end nobody anyway, and need not say so.
func lookError(err error) error {
	if errors.Is(err, ending.ErrUsage) {
		return usage(errors.New(strings.TrimPrefix(err.Error(), ending.ErrUsage.Error()+": ")))
	}
	return failed(err)
}

func logger(env Env, verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}))
}

// withoutTime leaves the time out: who reads the terminal knows it, and the
// system's log adds its own.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func writeJSON(env Env, value any) error {
	e := json.NewEncoder(env.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

func showStep(env Env, s ending.Step) {
	who := ""
	if !s.ID.IsZero() {
		who = fmt.Sprintf("%d %s", s.ID.PID, term.Escape(s.Comm))
	}
	fmt.Fprintf(env.Stdout, "%9s  %-24s %s\n", term.Duration(s.At), who, term.Escape(s.What))
}
