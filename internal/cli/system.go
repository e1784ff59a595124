package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"xexit/internal/ending"
	"xexit/internal/engine"
	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/session"
	"xexit/internal/term"
)

// What is asked of the daemon, where there is one. An ordinary user hears of
// his own logins only; that is the daemon's to see to, who knows from the
// kernel who asks.

// daemon is the client for this process.
func (e Env) daemon() ipc.Client {
	if e.Daemon.Path != "" {
		return e.Daemon
	}
	return ipc.Client{Path: ipc.Path}
}

// isRoot: root is shown everybody's.
func isRoot() bool { return os.Geteuid() == 0 }

// systemLogins lists what the daemon knows. Where none runs there is none, and
// no error.
func systemLogins(ctx context.Context, env Env) ([]ipc.Login, error) {
	list, err := env.daemon().Logins(ctx, isRoot())
	if errors.Is(err, ipc.ErrAbsent) {
		return nil, nil
	}
	return list, err
}

func findLogin(list []ipc.Login, id string) *ipc.Login {
	if i := slices.IndexFunc(list, func(l ipc.Login) bool { return l.ID == id }); i >= 0 {
		return &list[i]
	}
	return nil
}

// endByDaemon asks the daemon for the end of the login that --session names.
// done is false where that is no login of the daemon's, or root must do it himself.
func (f *endFlags) endByDaemon(ctx context.Context, env Env, req ending.Request) (done bool, err error) {
	if !ipc.ValidLogin(f.session) {
		return false, nil
	}
	list, err := systemLogins(ctx, env)
	if err != nil {
		complain(env, err) // without it the end is what it is without a daemon
		return false, nil
	}
	l := findLogin(list, f.session)
	if l == nil || l.Fate == ipc.FateLeave && isRoot() {
		return false, nil
	}
	if f.scope != "" || f.grace != 0 || f.config != "" {
		return true, usage(fmt.Errorf("login %s is ended by the daemon, as its configuration says: --scope, --grace and --config are not for it", l.ID))
	}
	if req.Reason == "" {
		req.Reason = session.ReasonRequested
	}
	defer f.follow(env, &req)()
	result, err := env.daemon().End(ctx, l.ID, ipc.EndRequest{Reason: req.Reason}, func(s ipc.Step) {
		if req.Progress != nil {
			req.Progress(ending.Step{At: time.Duration(s.At), Kind: ending.StepKind(s.Step), What: stepText(s)})
		}
	})
	switch {
	case errors.Is(err, ipc.ErrAbsent), errors.Is(err, ipc.ErrTaken) && isRoot():
		return false, nil
	case err != nil:
		return true, failed(fmt.Errorf("end login %s: %w", l.ID, err))
	}
	return true, showEnded(ctx, env, *l, result, f.json)
}

func stepText(s ipc.Step) string {
	if s.Text != "" {
		return s.Step + ": " + s.Text
	}
	return s.Step
}

// showEnded prints the record of an end that the daemon carried out, or where
// that is not to be had what the daemon has said.
func showEnded(ctx context.Context, env Env, l ipc.Login, r ipc.Result, asJSON bool) error {
	record, found := history.Record{}, false
	if r.Record != "" {
		list, err := env.daemon().Log(ctx, isRoot(), ipc.LogQuery{Session: l.ID})
		if err != nil {
			complain(env, err)
		}
		if i := slices.IndexFunc(list, func(h history.Record) bool { return h.ID == r.Record }); i >= 0 {
			record, found = list[i], true
		}
	}
	var err error
	switch {
	case asJSON && found:
		err = writeJSON(env, record)
	case asJSON:
		err = writeJSON(env, r)
	case found:
		showRecord(env, record, term.NewStyle(isTerminal(env.Stdout), env.getenv))
	default:
		showResult(env, l, r)
	}
	if err != nil {
		complain(env, err) // what was done counts more
	}
	if r.Exit != int(engine.ExitDone) {
		return exitError{status: engine.Exit(r.Exit)}
	}
	return nil
}

func showResult(env Env, l ipc.Login, r ipc.Result) {
	text := fmt.Sprintf("%s: %d ended, %d kept, %d spared", loginTitle(l), r.Ended, r.Kept, r.Spared)
	if r.AuditOnly {
		text = loginTitle(l) + ": nobody was ended, the configuration says audit-only"
	} else if !r.Verified {
		text += "; not verified"
	}
	fmt.Fprintln(env.Stdout, term.Escape(text))
	for _, s := range r.Survivors {
		fmt.Fprintf(env.Stdout, "  still there: %d %s: %s\n", s.PID, term.Escape(s.Comm), term.Escape(s.Cause))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(env.Stdout, "  problem: %s\n", term.Escape(p))
	}
}

// systemRecords are those of the daemon's ends of this user's logins, which he
// cannot read himself. Root can.
func systemRecords(ctx context.Context, env Env, q ipc.LogQuery) ([]history.Record, error) {
	if isRoot() {
		return nil, nil
	}
	list, err := env.daemon().Log(ctx, false, q)
	if errors.Is(err, ipc.ErrAbsent) {
		return nil, nil
	}
	return list, err
}
