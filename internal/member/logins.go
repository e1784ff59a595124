package member

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

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

// Login is a login as logind knows it.
type Login struct {
	ID      string // of the session: "4", "c1"
	UID     uint32
	Scope   string // its unit: "session-4.scope"
	Class   string // "user", "background", "manager", …
	Type    string // "tty", "x11", "wayland", …
	State   string // "active", "online", "closing"
	Display string // "" if it has none
	Leader  int    // process
	Audit   uint32 // session.NoAudit if logind does not know it
}

// User reports whether a person logged in: not a service manager, a greeter or
// a batch job.
func (l *Login) User() bool { return strings.HasPrefix(l.Class, "user") }

// Logins is what logind says of one user.
type Logins struct {
	Known   bool // there is a logind
	List    []Login
	Lingers bool // his services stay without a login (loginctl(1), enable-linger)
	Unsure  bool // not all of it could be read: there may be another live login
}

// ReadLogins reads what logind knows of a user, below the root of a
// file system. A host without logind has none of the files: Known is false. A file
// that cannot be read is in the error, and what could be read is returned.
func ReadLogins(root fs.FS, uid uint32) (Logins, error) {
	var l Logins
	if root == nil {
		return l, nil
	}
	entries, err := fs.ReadDir(root, sessionsDir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return l, nil
		}
		return Logins{Known: true, Unsure: true}, err
	}
	user, userErr := readKeys(root, path.Join(usersDir, strconv.FormatUint(uint64(uid), 10)))
	// The directory alone is no logind: it may be left over, or made by a
	// package. One that runs has written a file for somebody.
	l.Known = user != nil
	var errs []error
	if userErr != nil && !errors.Is(userErr, fs.ErrNotExist) {
		errs = append(errs, userErr)
	}
	for _, entry := range entries {
		if entry.IsDir() || strings.HasSuffix(entry.Name(), ".ref") || strings.HasPrefix(entry.Name(), ".") {
			continue // the FIFO that holds a session, or a file being written
		}
		l.Known = true
		login, err := ReadLogin(root, entry.Name())
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // it has just gone
				errs = append(errs, err)
			}
			continue
		}
		if login.UID == uid {
			l.List = append(l.List, login)
		}
	}
	l.Lingers = lingers(root, user["NAME"], uid)
	l.Unsure = len(errs) > 0
	return l, errors.Join(errs...)
}

// ListLogins reads all logins of a host, in no order. A host without logind
// has none. One that cannot be read is in the error; the others are returned.
func ListLogins(root fs.FS) (list []Login, err error) {
	entries, err := fs.ReadDir(root, sessionsDir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var errs []error
	for _, entry := range entries {
		if entry.IsDir() || !isLoginID(entry.Name()) {
			continue
		}
		login, err := ReadLogin(root, entry.Name())
		switch {
		case err == nil:
			list = append(list, login)
		case !errors.Is(err, fs.ErrNotExist): // it has just gone
			errs = append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}

// ReadLogin reads what logind knows of one login. fs.ErrNotExist: it does not
// know one of that id.
func ReadLogin(root fs.FS, id string) (Login, error) {
	if !isLoginID(id) {
		return Login{}, fmt.Errorf("read login %q: %w", id, fs.ErrNotExist)
	}
	keys, err := readKeys(root, path.Join(sessionsDir, id))
	if err != nil {
		return Login{}, fmt.Errorf("read login %s: %w", id, err)
	}
	uid, err := strconv.ParseUint(keys["UID"], 10, 32)
	if err != nil {
		return Login{}, fmt.Errorf("read login %s: UID: %w", id, err)
	}
	l := Login{
		ID: id, UID: uint32(uid), Scope: keys["SCOPE"], Class: keys["CLASS"], Type: keys["TYPE"],
		State: keys["STATE"], Display: keys["DISPLAY"], Audit: session.NoAudit,
	}
	l.Leader, _ = strconv.Atoi(keys["LEADER"]) // 0: not known
	if audit, err := strconv.ParseUint(keys["AUDIT"], 10, 32); err == nil && audit != 0 {
		l.Audit = uint32(audit)
	}
	return l, nil
}

// isLoginID: letters and digits, as logind makes them.
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

func readKeys(root fs.FS, name string) (map[string]string, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	keys := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, v, ok := strings.Cut(lines.Text(), "="); ok {
			keys[key] = strings.Trim(v, `"`)
		}
	}
	return keys, lines.Err()
}

// OtherLive reports whether logind holds another login of the user for live:
// a user's, not a service manager's or a batch job's, and not on its way out.
func (l *Logins) OtherLive(e *registry.Entry) bool {
	if l.Unsure {
		return true
	}
	for i := range l.List {
		g := &l.List[i]
		if g.User() && g.State != "closing" && !g.is(e) {
			return true
		}
	}
	return false
}

// is reports whether it is the login of a session: by its scope, or where
// that is unknown by its leader or the id in the environment.
func (g *Login) is(e *registry.Entry) bool {
	if e.Scope != "" {
		return g.Scope != "" && strings.HasSuffix(e.Scope, "/"+g.Scope)
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

// closing reports whether logind knows the login with this scope, and that it
// is over.
func (l *Logins) closing(scope string) bool {
	for i := range l.List {
		if l.List[i].Scope == scope {
			return l.List[i].State == "closing"
		}
	}
	return false
}
