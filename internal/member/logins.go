package member

import (
	"bufio"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"xexit/internal/registry"
)

// Where systemd keeps its state, below the root of the file system. The files
// hold KEY=VALUE lines; they are what sd-login(3) reads, and need no D-Bus.
const (
	sessionsDir = "run/systemd/sessions"
	usersDir    = "run/systemd/users"
	lingerDir   = "var/lib/systemd/linger"
)

// Login is one of the user's logins, as logind knows it.
type Login struct {
	ID     string // of the session: "4", "c1"
	Scope  string // its unit: "session-4.scope"
	Class  string // "user", "background", "manager", …
	State  string // "active", "online", "closing"
	Leader int    // process
}

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
		keys, err := readKeys(root, path.Join(sessionsDir, entry.Name()))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // it has just gone
				errs = append(errs, err)
			}
			continue
		}
		if keys["UID"] != strconv.FormatUint(uint64(uid), 10) {
			continue
		}
		leader, _ := strconv.Atoi(keys["LEADER"])
		l.List = append(l.List, Login{
			ID: entry.Name(), Scope: keys["SCOPE"], Class: keys["CLASS"], State: keys["STATE"], Leader: leader,
		})
	}
	l.Lingers = lingers(root, user["NAME"], uid)
	l.Unsure = len(errs) > 0
	return l, errors.Join(errs...)
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

// otherLive reports whether logind holds another login of the user for live:
// a user's, not a service manager's or a batch job's, and not on its way out.
func (l *Logins) otherLive(e *registry.Entry) bool {
	if l.Unsure {
		return true
	}
	for i := range l.List {
		g := &l.List[i]
		if strings.HasPrefix(g.Class, "user") && g.State != "closing" && !g.is(e) {
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
