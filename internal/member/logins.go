package member

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// Where systemd keeps its state, below the root of the file system. The files
// hold KEY=VALUE lines; they are what sd-login(3) reads, and need no D-Bus.
const (
	sessionsDir = "run/systemd/sessions"
	usersDir    = "run/systemd/users"
	lingerDir   = "var/lib/systemd/linger"
)

// HookDir is where the PAM hook keeps its logins, below the root of the file
// system, for hosts where logind does not run: files like logind's. Their
// names begin with a 'p', as none of logind's does, so both may be there.
const HookDir = "run/xexit/logins"

// HookCgroup is the control group of a login of the PAM hook's.
func HookCgroup(id string) string { return hookGroups + id }

// IsHookCgroup reports whether a path is that of such a control group.
func IsHookCgroup(path string) bool {
	id, ok := strings.CutPrefix(path, hookGroups)
	return ok && IsHookID(id)
}

const hookGroups = "/xexit/login-"

// Login is a login as logind knows it, or the PAM hook.
type Login struct {
	ID         string // of the session: "4", "c1"; "p7": the PAM hook's
	UID        uint32
	User       string // name
	Class      string // "user", "background", "manager", …
	Type       string // "tty", "x11", "wayland", …
	Service    string // of PAM: "sshd", "login"
	State      string // "active", "online", "closing"
	TTY        string // "" if it has none
	Display    string // "" if it has none
	RemoteHost string // as PAM was told: not to be relied on
	Remote     bool
	Seat       string // "" if it has none
	Leader     int    // process; 0: not known
	Audit      uint32 // session.NoAudit if it is not known here
	Scope      string // its unit: "session-4.scope"; "": it has none
	// Cgroup is the path of its control group, as in /proc/PID/cgroup: that of
	// its scope or the PAM hook's. "": it has none of its own, so nobody in it
	// can be told from anybody else.
	Cgroup string
	// Written is when the file that says all this was written, by the host's
	// clock. It may be a tick of the kernel's early (inode_set_ctime_current;
	// 4 ms with 250 Hz).
	Written time.Time
}

// IsUser reports whether a person logged in: not a service manager, a greeter
// or a batch job.
func (l *Login) IsUser() bool { return strings.HasPrefix(l.Class, "user") }

// IsDoubtful reports a login that logind takes for a background job although
// somebody comes from elsewhere: it has no word of a terminal or a display (as
// pam_systemd(8) has none from xdm, for displays by XDMCP). Perhaps a person's,
// perhaps a file transfer.
func (l *Login) IsDoubtful() bool { return strings.HasPrefix(l.Class, "background") && l.Remote }

// Logins is what is known of one user.
type Logins struct {
	Known   bool // there is a logind
	List    []Login
	Lingers bool // his services stay without a login (loginctl(1), enable-linger)
	Unsure  bool // not all of it could be read: there may be another live login
}

// ReadLogins reads what logind and the PAM hook know of a user, below the root
// of a file system. A host without logind has none of its files: Known is
// false. A file that cannot be read is in the error, and what could be read is
// returned.
func ReadLogins(root fs.FS, uid uint32) (Logins, error) {
	var l Logins
	if root == nil {
		return l, nil
	}
	list, ours, err := listLogins(root, sessionsDir)
	user, _, userErr := readKeys(root, path.Join(usersDir, strconv.FormatUint(uint64(uid), 10)))
	if errors.Is(userErr, fs.ErrNotExist) {
		userErr = nil
	}
	// The directory alone is no logind: it may be left over, or made by a
	// package. One that runs has written a file for somebody.
	l.Known = user != nil || ours || err != nil
	hooked, _, hookErr := listLogins(root, HookDir)
	for _, login := range append(list, hooked...) {
		if login.UID == uid {
			l.List = append(l.List, login)
		}
	}
	l.Lingers = lingers(root, user["NAME"], uid)
	err = errors.Join(err, userErr, hookErr)
	l.Unsure = err != nil
	return l, err
}

// ListLogins reads all logins of a host, in no order. A host with neither
// logind nor the PAM hook has none. One that cannot be read is in the error;
// the others are returned.
func ListLogins(root fs.FS) ([]Login, error) {
	list, _, err := listLogins(root, sessionsDir)
	hooked, _, hookErr := listLogins(root, HookDir)
	return append(list, hooked...), errors.Join(err, hookErr)
}

// listLogins reads the logins of a directory; any: there is at least one file.
func listLogins(root fs.FS, dir string) (list []Login, any bool, err error) {
	entries, err := fs.ReadDir(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var errs []error
	for _, entry := range entries {
		// Others are the FIFO that holds a session, or a file being written.
		if id := entry.Name(); entry.IsDir() || !isLoginID(id) || dirOf(id) != dir {
			continue
		}
		any = true
		login, err := ReadLogin(root, entry.Name())
		switch {
		case err == nil:
			list = append(list, login)
		case !errors.Is(err, fs.ErrNotExist): // it has just gone
			errs = append(errs, err)
		}
	}
	return list, any, errors.Join(errs...)
}

// ReadLogin reads what is known of one login. fs.ErrNotExist: there is none of
// that id.
func ReadLogin(root fs.FS, id string) (Login, error) {
	if !isLoginID(id) {
		return Login{}, fmt.Errorf("read login %q: %w", id, fs.ErrNotExist)
	}
	keys, written, err := readKeys(root, path.Join(dirOf(id), id))
	if err != nil {
		return Login{}, fmt.Errorf("read login %s: %w", id, err)
	}
	uid, err := strconv.ParseUint(keys["UID"], 10, 32)
	if err != nil {
		return Login{}, fmt.Errorf("read login %s: UID: %w", id, err)
	}
	l := Login{
		ID: id, UID: uint32(uid), User: keys["USER"], Class: keys["CLASS"], Type: keys["TYPE"],
		Service: keys["SERVICE"], State: keys["STATE"], TTY: keys["TTY"], Display: keys["DISPLAY"],
		RemoteHost: keys["REMOTE_HOST"], Remote: keys["REMOTE"] == "1", Seat: keys["SEAT"],
		Scope: keys["SCOPE"], Audit: session.NoAudit, Written: written,
	}
	l.Leader, _ = strconv.Atoi(keys["LEADER"]) // 0: not known
	if audit, err := strconv.ParseUint(keys["AUDIT"], 10, 32); err == nil && audit != 0 {
		l.Audit = uint32(audit)
	}
	switch {
	case dirOf(id) == HookDir && keys["CGROUP"] == HookCgroup(id):
		l.Cgroup = keys["CGROUP"]
	case dirOf(id) == sessionsDir && l.Scope == "session-"+id+".scope":
		l.Cgroup = fmt.Sprintf("/user.slice/user-%d.slice/%s", l.UID, l.Scope)
	}
	return l, nil
}

// IsLogindID reports whether name can be an id of logind's: letters and digits
// that begin with a digit, or a 'c' where the kernel has given no audit id.
func IsLogindID(name string) bool { return isLoginID(name) && dirOf(name) == sessionsDir }

// IsHookID reports whether name can be an id of the PAM hook's.
func IsHookID(name string) bool { return isLoginID(name) && dirOf(name) == HookDir }

func dirOf(id string) string {
	if id[0] == 'p' {
		return HookDir
	}
	return sessionsDir
}

func isLoginID(name string) bool {
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return name != ""
}

// lingers: there is a file with the user's name. Without the name, which a
// directory service may know and we do not, any file means yes.
func lingers(root fs.FS, name string, uid uint32) bool {
	if name == "" {
		name = localName(root, uid)
	}
	if name == "" {
		entries, err := fs.ReadDir(root, lingerDir)
		return err == nil && len(entries) > 0
	}
	_, err := fs.Stat(root, path.Join(lingerDir, name))
	return err == nil
}

// localName looks a uid up in passwd(5).
func localName(root fs.FS, uid uint32) string {
	data, err := fs.ReadFile(root, "etc/passwd")
	if err != nil {
		return ""
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		fields := strings.Split(line, ":")
		if len(fields) > 2 && fields[2] == strconv.FormatUint(uint64(uid), 10) {
			return fields[0]
		}
	}
	return ""
}

// maxFile bounds what is read of one login, in bytes.
const maxFile = 64 << 10

func readKeys(root fs.FS, name string) (keys map[string]string, written time.Time, err error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, written, err
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil {
		return nil, written, err
	}
	// What anybody else could write says nothing of a login.
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 || !info.Mode().IsRegular() {
		return nil, written, fmt.Errorf("%s: not a file of root's", name)
	}
	keys = map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(f, maxFile))
	for lines.Scan() {
		if key, v, ok := strings.Cut(lines.Text(), "="); ok {
			keys[key] = strings.Trim(v, `"`)
		}
	}
	return keys, info.ModTime(), lines.Err()
}

// OtherLive reports whether another login of the user is held for live: a
// user's, not a service manager's or a batch job's, and not on its way out.
func (l *Logins) OtherLive(e *registry.Entry) bool {
	if l.Unsure {
		return true
	}
	for i := range l.List {
		g := &l.List[i]
		if g.IsUser() && g.State != "closing" && !g.is(e) {
			return true
		}
	}
	return false
}

// is reports whether it is the login of a session: by its control group, or
// where that is unknown by its leader or the id in the environment.
func (g *Login) is(e *registry.Entry) bool {
	if e.Scope != "" {
		return g.unit() != "" && strings.HasSuffix(e.Scope, "/"+g.unit())
	}
	if g.Leader != 0 && g.Leader == e.Leader.PID {
		return true
	}
	for _, m := range e.Markers {
		if m.Name == "XDG_SESSION_ID" {
			return m.Value == g.ID
		}
	}
	return false
}

// unit is the last part of its control group's path.
func (g *Login) unit() string {
	if g.Scope != "" {
		return g.Scope
	}
	return strings.TrimPrefix(g.Cgroup, path.Dir(hookGroups)+"/")
}

// closing reports whether the login in this unit is known, and over.
func (l *Logins) closing(unit string) bool {
	for i := range l.List {
		if l.List[i].unit() == unit {
			return l.List[i].State == "closing"
		}
	}
	return false
}
