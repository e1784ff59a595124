// Package pamlogin keeps the logins of a host where logind does not run, as
// logind would: a file and a control group each.
//
//	PAM worker (sshd's monitor, login, …)
//	  └─ pam_exec ─ xexit pam-session      open: makes /xexit/login-p7,
//	                                        moves the worker there, writes
//	                                        /run/xexit/logins/p7
//	                                        close: State=closing
//	daemon: Source hears of it (inotify) and, when the last process in the
//	control group is dead, removes both
//
// What the files say, package member reads. Ending a login does not belong
// here, nor does a login that logind has.
package pamlogin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"xexit/internal/cgroup"
	"xexit/internal/member"
	"xexit/internal/session"
)

// Verb is what pam_exec(8) calls, hidden from people.
const Verb = "pam-session"

// dirMode is of the directory: everybody may see who is logged in, as with
// logind's.
const dirMode = 0o755

// save writes a login's file in one step: whoever reads it sees the old one or
// the new one.
func save(root string, l member.Login) error {
	dir := filepath.Join(root, member.HookDir)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(format(l))
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, l.ID))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// format is what a login's file says, in the form of logind's.
func format(l member.Login) string {
	var b strings.Builder
	b.WriteString("# This is private data of xexit's. Do not parse.\n")
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s=%s\n", key, value)
		}
	}
	fmt.Fprintf(&b, "UID=%d\n", l.UID)
	line("USER", l.User)
	line("STATE", l.State)
	if l.Remote {
		line("REMOTE", "1")
	}
	line("TYPE", l.Type)
	line("CLASS", l.Class)
	line("CGROUP", l.Cgroup)
	line("SEAT", l.Seat)
	line("TTY", l.TTY)
	line("DISPLAY", l.Display)
	line("REMOTE_HOST", l.RemoteHost)
	line("SERVICE", l.Service)
	fmt.Fprintf(&b, "LEADER=%d\n", l.Leader)
	if l.Audit != session.NoAudit {
		fmt.Fprintf(&b, "AUDIT=%d\n", l.Audit)
	}
	return b.String()
}

// removeIfEmpty removes a login in whose control group nobody lives, which is
// how logind's go. It reports whether it did.
func removeIfEmpty(root string, tree cgroup.Tree, id string) (bool, error) {
	if !member.IsHookID(id) {
		return false, nil
	}
	file := filepath.Join(root, member.HookDir, id)
	if _, err := os.Lstat(file); err != nil {
		return false, ignoreMissing(err) // the hook has not written it yet
	}
	g, err := tree.Open(member.HookCgroup(id))
	switch {
	case errors.Is(err, cgroup.ErrGone):
		return true, ignoreMissing(os.Remove(file))
	case err != nil:
		return false, err
	}
	live, err := g.Populated()
	err = errors.Join(err, g.Close())
	if live || err != nil {
		return false, err
	}
	err = tree.Remove(member.HookCgroup(id))
	switch {
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.ENOTEMPTY):
		return false, nil // somebody has come into it meanwhile
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		err = nil // it costs nothing but its name
	}
	return true, errors.Join(err, ignoreMissing(os.Remove(file)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
