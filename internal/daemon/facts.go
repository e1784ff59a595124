package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"xexit/internal/cgroup"
	"xexit/internal/login"
	"xexit/internal/logindefs"
	"xexit/internal/member"
	"xexit/internal/proc"
	"xexit/internal/session"
)

// info is what the source and the kernel say of a login. late: its leader is
// not in its control group yet; gone: its leader does not live any more.
func (d *Daemon) info(l *member.Login) (info login.Info, late, gone bool, err error) {
	info = login.Info{
		UID: l.UID, User: short(l.User), Scope: short(l.Scope), Cgroup: l.Cgroup, Audit: l.Audit, Client: short(l.RemoteHost),
		Display: session.CanonicalDisplay(short(l.Display)), Type: short(l.Type), Service: short(l.Service),
	}
	if l.Leader == 0 {
		return info, false, false, nil
	}
	stat, err := d.procs.Stat(l.Leader)
	if errors.Is(err, proc.ErrGone) {
		return info, false, true, nil
	}
	if err != nil {
		return info, false, false, fmt.Errorf("leader %d: %w", l.Leader, err)
	}
	if stat.State == 'Z' || stat.State == 'X' {
		return info, false, true, nil
	}
	info.Leader = stat.ID()
	in, err := d.procs.Cgroup(l.Leader)
	if err != nil {
		return info, false, errors.Is(err, proc.ErrGone), ignoreGone(err)
	}
	// Until logind has moved it, and where its number has gone to somebody
	// else, what the kernel says of it is not said of the login.
	if !member.Within(in, info.Cgroup) {
		return info, true, false, nil
	}
	audit, err := d.procs.Audit(l.Leader)
	if err != nil {
		return info, false, errors.Is(err, proc.ErrGone), ignoreGone(err)
	}
	info.Audit = audit
	return info, false, false, nil
}

// short bounds what goes into a state file: a user may set his session's
// display to what he likes (SetDisplay, org.freedesktop.login1(5)).
func short(text string) string {
	const most = 256
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "")
	}
	return text
}

func ignoreGone(err error) error {
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	return err
}

// readLimits reads where ordinary users' ids lie. An absent file means the
// defaults; one that cannot be read or understood is an error.
func readLimits(path string) (logindefs.Range, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return logindefs.Range{}, err
	}
	limits, err := logindefs.UIDs(string(text))
	if err != nil {
		return logindefs.Range{}, fmt.Errorf("read %s: %w", path, err)
	}
	return limits, nil
}

// thaw lets everybody go on whom an end that was cut short has left frozen.
// Whom others freeze is their business.
func thaw(procRoot string, states []login.State) (errs []error) {
	tree, err := cgroup.Mounted(procRoot)
	if errors.Is(err, cgroup.ErrNoHierarchy) {
		return nil
	}
	if err != nil {
		return []error{err}
	}
	for i := range states {
		s := &states[i]
		if s.Phase == login.Open || s.Cgroup == "" {
			continue
		}
		group, err := tree.Open(s.Cgroup)
		if err == nil {
			err = errors.Join(group.Thaw(), group.Close())
		}
		if err != nil && !errors.Is(err, cgroup.ErrGone) && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errs
}

// Thaw is for after a daemon that has ended, however that was: nobody stays
// frozen.
func Thaw(procRoot, dir string) error {
	states, err := openStates(dir)
	if err != nil {
		return err
	}
	boot, err := bootID(procRoot)
	if err != nil {
		return err
	}
	found, problems := states.load(boot)
	return errors.Join(append(problems, thaw(procRoot, found)...)...)
}
