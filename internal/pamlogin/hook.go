package pamlogin

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"xexit/internal/cgroup"
	"xexit/internal/logind"
	"xexit/internal/member"
	"xexit/internal/proc"
	"xexit/internal/session"
)

// hook is one call by pam_exec(8).
type hook struct {
	root    string // of the file system
	proc    *proc.FS
	tree    cgroup.Tree
	env     func(name string) string
	worker  int // our parent: the PAM worker, which is to be the leader
	class   string
	lookUp  func(user string) (uid uint32, err error)
	notable []string // what the administrator should know
}

// passing are PAM services that change to another user within a login, or
// start something by the clock: none of them is a login of its own. logind
// knows by the caller's session, which is not there to ask.
var passing = map[string]bool{
	"su": true, "su-l": true, "sudo": true, "sudo-i": true, "runuser": true, "runuser-l": true, "doas": true,
	"polkit-1": true, "pkexec": true, "newgrp": true, "sg": true,
	"cron": true, "crond": true, "atd": true, "at": true, "anacron": true, "systemd-user": true,
}

// run does what PAM says has happened. A call that is of no concern does
// nothing.
func (h *hook) run() error {
	service, user := h.env("PAM_SERVICE"), h.env("PAM_USER")
	if passing[service] || service == "" || user == "" {
		return nil
	}
	switch h.env("PAM_TYPE") {
	case "open_session":
		return h.open(service, user)
	case "close_session":
		return h.close()
	}
	return nil
}

// open registers a login, unless logind has it.
func (h *hook) open(service, user string) error {
	group, err := h.proc.Cgroup(h.worker)
	if err != nil {
		return fmt.Errorf("look at the PAM worker: %w", err)
	}
	if id := h.loginOf(group); id != "" {
		if known, err := h.reopen(id); known || err != nil {
			return err
		}
	}
	if known, err := h.knownToLogind(group); known || err != nil {
		return err
	}
	uid, err := h.lookUp(user)
	if err != nil {
		return err
	}
	l := h.describe(service, user)
	l.UID, l.Leader, l.State = uid, h.worker, "active"
	if l.Audit, err = h.ownAudit(); err != nil {
		return err
	}
	if err := h.makeGroup(&l); err != nil {
		return err
	}
	if err := h.enter(l, group); err != nil {
		return err
	}
	return save(h.root, l)
}

// loginOf is the login that a control group is of, or below.
func (h *hook) loginOf(group string) string {
	rest, ok := strings.CutPrefix(group, member.HookCgroup(""))
	id, _, _ := strings.Cut(rest, "/")
	if !ok || !member.IsHookID(id) {
		return ""
	}
	return id
}

// reopen: the worker is in a login already. If it leads that one it has opened
// a second PAM session. If somebody in it has started it, it belongs to that,
// as with logind. A daemon that was restarted from it opens logins of their own.
func (h *hook) reopen(id string) (known bool, err error) {
	l, err := member.ReadLogin(os.DirFS(h.root), id)
	if err != nil {
		return false, ignoreMissing(err)
	}
	if l.Leader != h.worker {
		return h.startedIn(l)
	}
	if l.State != "active" {
		l.State = "active"
		err = save(h.root, l)
	}
	return true, err
}

// startedIn reports whether there is somebody of the login above the worker:
// its leader, or a process that is not root's. Above a daemon there is init.
func (h *hook) startedIn(l member.Login) (bool, error) {
	for pid := h.worker; ; {
		stat, err := h.proc.Stat(pid)
		if errors.Is(err, proc.ErrGone) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if pid = stat.PPID; pid == l.Leader {
			return true, nil
		}
		if pid <= 1 {
			return false, nil
		}
		uid, err := h.proc.UID(pid)
		if err != nil && !errors.Is(err, proc.ErrGone) {
			return false, err
		}
		if err == nil && uid != 0 {
			return true, nil
		}
	}
}

// knownToLogind: logind runs, or it does not and has this one all the same
// (elogind has no scopes). What it has is not ours to move.
func (h *hook) knownToLogind(group string) (bool, error) {
	if runs, err := logind.Running(h.tree); runs || err != nil {
		return runs, err
	}
	list, err := logind.Source{Root: h.root}.List()
	for _, l := range list {
		if member.Within(group, l.Cgroup) || l.Cgroup == "" && l.Leader == h.worker {
			return true, nil
		}
	}
	return false, err
}

// describe is what PAM tells of a login. Its words come from whoever called
// PAM, and the name of the far end from the network.
func (h *hook) describe(service, user string) member.Login {
	l := member.Login{
		User: plain(user), Service: plain(service), Class: h.class, Type: "unspecified", Seat: plain(h.env("XDG_SEAT")),
		TTY: plain(strings.TrimPrefix(h.env("PAM_TTY"), "/dev/")), RemoteHost: plain(h.env("PAM_RHOST")),
	}
	l.Remote = l.RemoteHost != "" && l.RemoteHost != "localhost" && !strings.HasSuffix(l.RemoteHost, ".localhost")
	switch {
	case strings.Contains(l.TTY, ":"): // an X display, as pam_systemd(8) has it
		l.Type, l.Display, l.TTY = "x11", l.TTY, ""
	case l.TTY != "" && l.TTY != "cron":
		l.Type = "tty"
	}
	// A user may have a say in the environment (pam_env(8)): what he can get
	// by that is to be taken for a graphical login.
	if t := h.env("XDG_SESSION_TYPE"); t == "x11" || t == "wayland" {
		l.Type = t
	}
	switch l.TTY {
	case "ssh", "cron", "ftp", "xrdp-sesman": // words that stand for no terminal
		l.TTY = ""
	}
	return l
}

// plain keeps what a line of the file can hold: nothing if there is anything
// odd about it.
func plain(value string) string {
	for _, c := range []byte(value) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return ""
		}
	}
	if len(value) > 255 {
		return ""
	}
	return value
}

// ownAudit is the login's audit id: that which pam_loginuid(8) has just given
// to the worker. One that the worker has from its parent (a daemon that
// somebody started by hand in his own login) is not the login's alone, and
// whoever went by it would take others.
func (h *hook) ownAudit() (uint32, error) {
	audit, err := h.proc.Audit(h.worker)
	if err != nil || audit == session.NoAudit {
		if err == nil {
			h.notable = append(h.notable, "the login has no audit id: is pam_loginuid missing before xexit in the PAM stack?")
		}
		return session.NoAudit, err
	}
	stat, err := h.proc.Stat(h.worker)
	if err != nil {
		return session.NoAudit, err
	}
	above, err := h.proc.Audit(stat.PPID)
	if errors.Is(err, proc.ErrGone) {
		return session.NoAudit, nil // it cannot be compared any more
	}
	if err == nil && above == audit {
		h.notable = append(h.notable, fmt.Sprintf("the login's audit id %d is that of the daemon that opened it, and says nothing", audit))
		return session.NoAudit, nil
	}
	return audit, err
}

// makeGroup makes a control group that only this login has, and so gives the
// login its id. Neither an audit id nor a process with its start is given out
// twice as long as the kernel runs.
func (h *hook) makeGroup(l *member.Login) error {
	stat, err := h.proc.Stat(h.worker)
	if err != nil {
		return err
	}
	ids := []string{fmt.Sprintf("p%dt%d", h.worker, stat.Start)}
	if l.Audit != session.NoAudit {
		ids = append([]string{fmt.Sprintf("p%d", l.Audit)}, ids...)
	}
	for _, id := range ids {
		l.ID, l.Cgroup = id, member.HookCgroup(id)
		if _, err := os.Lstat(h.file(id)); err == nil {
			continue // a login of that name has ended, and is not removed yet
		}
		if err = h.tree.MakeNew(l.Cgroup); err == nil || !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("every name for the login is taken: %q", ids)
}

func (h *hook) file(id string) string { return h.root + "/" + member.HookDir + "/" + id }

// enter moves the worker into its login: its children will be born there.
func (h *hook) enter(l member.Login, before string) error {
	g, err := h.tree.Open(l.Cgroup)
	if err != nil {
		return err
	}
	err = g.Enter(h.worker)
	if err == nil && os.Getppid() != h.worker {
		err = fmt.Errorf("the PAM worker %d is gone", h.worker)
	}
	if err = errors.Join(err, g.Close()); err != nil {
		return errors.Join(fmt.Errorf("move the PAM worker from %s: %w", before, err), h.tree.Remove(l.Cgroup))
	}
	return nil
}

// close marks the worker's login as closing. What is left of it, others end.
func (h *hook) close() error {
	group, err := h.proc.Cgroup(h.worker)
	if err != nil {
		return fmt.Errorf("look at the PAM worker: %w", err)
	}
	id := h.loginOf(group)
	if id == "" {
		return nil
	}
	l, err := member.ReadLogin(os.DirFS(h.root), id)
	if err != nil || l.Leader != h.worker {
		return ignoreMissing(err)
	}
	l.State = "closing"
	return save(h.root, l)
}
