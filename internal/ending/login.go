package ending

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/config"
	"xexit/internal/history"
	"xexit/internal/linux"
	"xexit/internal/login"
	"xexit/internal/logind"
	"xexit/internal/logindefs"
	"xexit/internal/member"
	"xexit/internal/proc"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// A login is what root ends where a user ends a display's session. logind says
// which there are, or the PAM hook where there is no logind; the kernel says who is in one.

// login finds a login by its id. fs.ErrNotExist: there is none.
func (h Host) login(id string) (subject, error) {
	l, err := member.ReadLogin(os.DirFS(h.Root), id)
	if err != nil {
		return subject{}, err
	}
	if !l.IsUser() {
		return subject{}, fmt.Errorf("%w: login %s is no user's (its class is %q)", ErrUsage, id, l.Class)
	}
	if l.Cgroup == "" {
		return subject{}, fmt.Errorf("%w: login %s has no scope of its own (%q), nor another control group, so nobody can be told from anybody", ErrUsage, id, l.Scope)
	}
	e := registry.Entry{
		Display: session.CanonicalDisplay(l.Display), Audit: l.Audit, UID: l.UID, OwnsLogin: true,
		Scope: l.Cgroup,
		Phase: session.PhaseWatching,
	}
	if err := h.leader(&e, l.Leader); err != nil {
		return subject{}, err
	}
	boot, err := bootID(h.Proc)
	if err != nil {
		return subject{}, fmt.Errorf("login %s: %w", id, err)
	}
	e.ID, err = login.SessionID(boot, l.ID, l.UID)
	return subject{Entry: e, login: id}, err
}

// leader reads what the kernel says of a login's leader. Its audit id is what
// the login's processes have: logind learns of it only where PAM had set it in
// time.
func (h Host) leader(e *registry.Entry, pid int) error {
	if pid == 0 {
		return nil
	}
	fs, err := proc.New(h.Proc)
	if err != nil {
		return err
	}
	defer fs.Close()
	stat, err := fs.Stat(pid)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("leader of the login: %w", err)
	}
	in, err := fs.Cgroup(pid)
	if err != nil {
		return fmt.Errorf("leader of the login: %w", err)
	}
	// Its number may have gone to somebody else since.
	if !member.Within(in, e.Scope) {
		return nil
	}
	audit, err := fs.Audit(pid)
	if err != nil {
		return fmt.Errorf("leader of the login: %w", err)
	}
	e.Leader, e.Start, e.Audit = stat.ID(), stat.Start, audit
	return nil
}

// logins lists the users' logins in words, for a message.
func (h Host) logins() string {
	list, err := member.ListLogins(os.DirFS(h.Root))
	if err != nil {
		return "the logins cannot be read: " + err.Error()
	}
	var names []string
	for _, l := range list {
		if l.IsUser() {
			names = append(names, fmt.Sprintf("%s of %s (%s, %s)", l.ID, userName(l.UID), l.Type, l.State))
		}
	}
	if len(names) == 0 {
		return "no user is logged in"
	}
	return strings.Join(names, ", ")
}

// lookAtLogins plans the end of each login of an ordinary user.
func (h Host) lookAtLogins(ctx context.Context, reg *registry.Registry, c config.Config, req Request) (plans []Plan, err error) {
	limits, err := loginDefs(path.Join(h.Root, logindefs.Path))
	if err != nil {
		return nil, err
	}
	list, err := member.ListLogins(os.DirFS(h.Root))
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if !l.IsUser() || limits.System(l.UID) {
			continue
		}
		s, err := h.login(l.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		var p Plan
		if err == nil {
			p, err = h.look(ctx, reg, s, c, req)
		}
		if err != nil {
			return plans, fmt.Errorf("login %s: %w", l.ID, err)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// scopeGroup is the control group of a login: nil if it is gone, or the host
// has none to command.
func (h Host) scopeGroup(e *registry.Entry) (*cgroup.Group, error) {
	tree, err := cgroup.Mounted(h.Proc)
	if errors.Is(err, cgroup.ErrNoHierarchy) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	g, err := tree.Open(e.Scope)
	if errors.Is(err, cgroup.ErrGone) {
		return nil, nil
	}
	return g, err
}

// leaveScope takes this process out of the scope that it is about to end:
// from inside it would kill or freeze itself.
func (t *target) leaveScope() error {
	if in, err := t.inScope(os.Getpid()); err != nil || !in {
		return err
	}
	tree, err := cgroup.Mounted(t.fs.Root())
	if err != nil {
		return err
	}
	return tree.EnterRoot()
}

// inScope is the bound's exception for logins: whatever user it is, what the
// kernel has in the login's scope is the login's.
func (t *target) inScope(pid int) (bool, error) {
	in, err := t.fs.Cgroup(pid)
	return member.Within(in, t.entry.Scope), err
}

// urgently runs f, for a login at the best share of the processor that root can
// have: what breeds in it must not be faster because it is more.
func (t *target) urgently(f func()) {
	if t.login == "" {
		f()
		return
	}
	linux.WithNice(-20, f)
}

// managerPatience is a little more than systemd gives user@.service for
// stopping (TimeoutStopSec=120s) before it kills what is left there.
const managerPatience = 130 * time.Second

// stopManager takes the user's service manager down if his last login has
// ended and the site asks for that. A login that began meanwhile keeps it.
func (r *run) stopManager(ctx context.Context) error {
	t := r.target
	if t.login == "" || scopeOf(r.req, r.config) != session.ScopeUser || r.looker.managed || !logind.Booted(r.host.Root) {
		return nil
	}
	logins, err := member.ReadLogins(os.DirFS(r.host.Root), t.entry.UID)
	if err != nil || logins.Lingers || logins.OtherLive(&t.entry) {
		return err // unsure: it stays
	}
	ctx, cancel := context.WithTimeout(ctx, managerPatience)
	defer cancel()
	if err := logind.StopUserManager(ctx, t.entry.UID); err != nil {
		r.record.Survivors = append(r.record.Survivors, history.Survivor{Comm: "systemd", Cause: err.Error()})
		return err
	}
	r.tell(Step{Kind: StepSignal, What: fmt.Sprintf("systemd has stopped user@%d.service", t.entry.UID)})
	return nil
}

// awaitLeader waits for the login's leader to close the login and exit. What
// it cannot do in time is somebody else's to mend. A patience of 0 or less is a
// look.
func (t *target) awaitLeader(patience time.Duration) error {
	id := t.entry.Leader
	if t.login == "" || id.IsZero() {
		return nil
	}
	ref, err := t.fs.Open(id.PID)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ref.Close()
	if ref.ID() != id {
		return nil
	}
	exit := []linux.PollFD{{FD: ref.FD()}}
	for over := time.Now().Add(patience); ; {
		if err := linux.Poll(exit, max(time.Until(over), 0)); err != nil || exit[0].In {
			return err
		}
		if !time.Now().Before(over) {
			return fmt.Errorf("the leader %d of login %s is still there: it may be closing the login, or serve something else too", id.PID, t.login)
		}
	}
}
