package ending

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"xexit/internal/hook"
	"xexit/internal/logind"
	"xexit/internal/session"
)

// Hooks of a login run outside of the login's control group and of our
// confinement, and are ended at their deadline with all that they have started:
// in transient units, by systemd, even if we are dead by then; or where it does
// not run the host, in control groups of their own, by us. The user's run behind
// the shield in either: what they send to everybody would reach his other
// logins. Without control groups they are children of ours in a process group.

// userHooks runs hooks as the login's user.
func (r *run) userHooks(ctx context.Context, specs []hook.Spec) error {
	if len(specs) == 0 {
		return nil
	}
	options := r.hookOptions()
	options.Shield, options.Stage = r.config.Hooks.Shield, r.host.Self
	if logind.Booted(r.host.Root) {
		return r.inUnits(ctx, specs, hook.Environ(r.target.environ(), clean(r.vars())), number(r.target.entry.UID), options)
	}
	u, err := r.host.account(ctx, r.target.entry.UID)
	if err != nil { // as root they would be somebody else's scripts
		return fmt.Errorf("hooks are not run: %w", err)
	}
	return r.inGroups(ctx, specs, hook.Environ(u.environ(r.target), clean(r.vars())), &u.Credential, options)
}

// rootPath is what root's hooks find their commands by.
const rootPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// rootHooks runs the hooks in [hooks] root-dir as root. Nothing that the user
// chose reaches them but in the form that it is supposed to have.
func (l *loginEnd) rootHooks(ctx context.Context) error {
	specs, err := l.listHooks(l.config.Hooks.RootDir)
	env := hook.Environ([]string{rootPath, "XEXIT_LOGIN=" + l.asked.Login, "XEXIT_UID=" + number(l.asked.UID)}, clean(l.vars()))
	if logind.Booted(l.host.Root) {
		return errors.Join(err, l.inUnits(ctx, specs, env, "", l.hookOptions()))
	}
	return errors.Join(err, l.inGroups(ctx, specs, env, nil, l.hookOptions()))
}

// What besides letters and digits a user's name (also with a domain in front),
// a display and a host may have in them.
const (
	userSigns    = `._-@+$\`
	displaySigns = ".:-_/[]%"
	hostSigns    = ".:-_[]%"
)

// clean leaves out what does not look like what it is supposed to be.
func clean(v hook.Vars) hook.Vars {
	v.User, v.Display, v.Client = only(v.User, userSigns), only(v.Display, displaySigns), only(v.Client, hostSigns)
	return v
}

// only is text if it consists of letters, digits and the signs given, and does
// not begin with a hyphen; else nothing.
func only(text, signs string) string {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune(signs, c) {
			return ""
		}
	}
	if strings.HasPrefix(text, "-") || len(text) > 256 {
		return ""
	}
	return text
}

func (r *run) inUnits(ctx context.Context, specs []hook.Spec, env []string, user string, o hook.Options) error {
	if len(specs) == 0 {
		return nil
	}
	over := r.holdStill(ctx)
	for _, spec := range specs {
		// The same name at a second attempt: a hook that the first one started
		// and did not wait for is ended then, not run twice at once.
		by := unitRunner{fmt.Sprintf("xexit-hook-%s-%d.service", r.record.ID, len(r.record.Hooks)), user, r.target.login, &r.noBus}
		r.ran(hook.RunBy(ctx, spec, env, o, by))
	}
	return over()
}

// unitRunner is a hook.Runner by systemd.
type unitRunner struct {
	name, user, login string
	noBus             *error // so that not each hook waits for it
}

// Run implements hook.Runner.
func (u unitRunner) Run(ctx context.Context, c hook.Command) (hook.Exit, error) {
	if *u.noBus != nil {
		return hook.Exit{}, *u.noBus
	}
	exit, err := logind.RunUnit(ctx, logind.Unit{
		Name: u.name, Description: "exit script for login " + u.login, User: u.user,
		Path: c.Path, Argv: c.Argv, Env: c.Env, Stdin: c.Input, Output: c.Output, Deadline: c.Deadline, Grace: c.Grace,
	})
	if errors.Is(err, logind.ErrNoSystemd) {
		*u.noBus = err
	}
	return hook.Exit{Status: exit.Status, Signal: exit.Signal, TimedOut: exit.TimedOut}, err
}

type loginHooks struct{ *loginEnd }

// Run implements engine.Hooks.
func (l loginHooks) Run(ctx context.Context) error {
	l.leader(ctx)
	specs, err := l.listHooks(l.config.Hooks.Dir)
	err = errors.Join(err, l.userHooks(ctx, specs))
	l.steps.reach(session.StepUserHooks)
	err = errors.Join(err, l.rootHooks(ctx))
	l.steps.reach(session.StepRootHooks)
	return err
}
