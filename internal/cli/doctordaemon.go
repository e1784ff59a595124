package cli

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"syscall"
	"time"

	"xexit/internal/conflict"
	"xexit/internal/doctor"
	"xexit/internal/ipc"
)

// doctorDaemon is what the daemon says of itself, or that it says nothing.
func doctorDaemon(ctx context.Context, env Env) doctor.Daemon {
	c := env.daemon()
	d := doctor.Daemon{Socket: c.Path}
	s, err := c.Status(ctx)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		d.State = doctor.DaemonStopped
	case errors.Is(err, fs.ErrNotExist):
		d.State = doctor.DaemonAbsent
	case errors.Is(err, ipc.ErrBusy):
		d.State, d.Why = doctor.DaemonBusy, err.Error()
	case err != nil:
		d.State, d.Why = doctor.DaemonSilent, err.Error()
	default:
		d.State = doctor.DaemonAnswers
		says(&d, s)
		d.Logins = ownLogins(ctx, env)
	}
	if d.State == doctor.DaemonStopped || d.State == doctor.DaemonAbsent {
		d.Conflicts = inTheWay(ctx, d.State)
	}
	return d
}

// inTheWay is what the daemon would say is in its way, if it ran. Where it never
// ran it is told of only if a PAM stack calls the hook, since somebody wants it
// to run then.
func inTheWay(ctx context.Context, state doctor.DaemonState) []doctor.Finding {
	if !isRoot() {
		return nil
	}
	host := conflict.ThisHost(0) // of keep rules only what logind does to them is told
	f := host.Look(ctx)
	if state == doctor.DaemonAbsent && len(f.Hooked) == 0 {
		return nil
	}
	return conflict.Judge(f)
}

func says(d *doctor.Daemon, s ipc.Status) {
	d.Version, d.Types, d.AuditOnly = s.Version, s.Types, s.AuditOnly
	d.Rejected, d.Counters = s.ConfigProblems, s.Counters
	for _, c := range s.Conflicts {
		level := doctor.Note
		if c.Problem {
			level = doctor.Problem
		}
		d.Conflicts = append(d.Conflicts, doctor.Finding{Key: c.Key, Level: level, Text: c.Text, Means: c.Means, Do: c.Do})
	}
	if !s.Since.IsZero() {
		d.Runs = max(time.Since(s.Since), 1)
	}
	for _, p := range s.Sources {
		d.Sources = append(d.Sources, doctor.Part(p))
	}
	d.Worker = doctor.Part(s.Worker)
}

// ownLogins says what becomes of the caller's logins. Root's are not ended.
func ownLogins(ctx context.Context, env Env) []doctor.DaemonLogin {
	if isRoot() {
		return nil
	}
	list, err := env.daemon().Logins(ctx, false)
	if err != nil {
		return nil // it has just answered: the next call shows
	}
	var logins []doctor.DaemonLogin
	for _, l := range list {
		logins = append(logins, doctor.DaemonLogin{
			Scope: path.Base(l.Cgroup), Ends: l.Fate == ipc.FateEnd, Text: loginTitle(l) + ": " + loginText(l),
		})
	}
	return logins
}
