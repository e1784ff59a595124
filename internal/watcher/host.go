package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"xexit/internal/linux"
	"xexit/internal/logindefs"
	"xexit/internal/session"
)

// host is where facts about this machine and this login are read.
type host struct {
	proc      string // proc(5)
	sessions  string // systemd-logind's state, a file a session
	loginDefs string // login.defs(5)
	locks     string // where X servers keep their locks (Xserver(1))
}

func thisHost() host {
	return host{proc: "/proc", sessions: "/run/systemd/sessions", loginDefs: logindefs.Path, locks: "/tmp"}
}

// login is what the kernel says of the login that a process belongs to.
type login struct {
	audit   uint32 // session.NoAudit: none
	scope   string // "": not in one
	manager bool   // none: it is below the user's service manager, whose audit id that is
}

// login reads a process's; what cannot be read is unknown.
func (h host) login(pid string) login {
	l := login{audit: session.NoAudit}
	if text, err := os.ReadFile(h.proc + "/" + pid + "/sessionid"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil {
			l.audit = uint32(n)
		}
	}
	if text, err := os.ReadFile(h.proc + "/" + pid + "/cgroup"); err == nil {
		l.scope = sessionScope(string(text))
		l.manager = l.scope == "" && strings.Contains(string(text), "/user@")
	}
	return l
}

// sessionScope finds the login's scope in the text of /proc/PID/cgroup, up to
// the part that logind calls session-N.scope: in the v2 line (which v1 hosts may
// have beside the others, cgroups(7)), or without one in that of systemd's own
// hierarchy of v1.
func sessionScope(text string) string {
	found := ""
	for line := range strings.SplitSeq(text, "\n") {
		_, rest, _ := strings.Cut(line, ":")
		if path, ok := strings.CutPrefix(rest, ":"); ok {
			return scopeOf(path)
		}
		if path, ok := strings.CutPrefix(rest, "name=systemd:"); ok {
			found = scopeOf(path)
		}
	}
	return found
}

// scopeOf is a path up to the part that is a login's scope; "": none is.
func scopeOf(path string) string {
	for end := range len(path) + 1 {
		if end < len(path) && path[end] != '/' {
			continue
		}
		if base := filepath.Base(path[:end]); strings.HasPrefix(base, "session-") && strings.HasSuffix(base, ".scope") {
			return path[:end]
		}
	}
	return ""
}

// graphical reports whether logind says that session name is a graphical one
// of uid, on this display, and the same login as l. Its file is private to
// logind by its own word, but what it says here is checked against the kernel.
func (h host) graphical(name, display string, uid uint32, l login) bool {
	said := h.said(name)
	return (said["TYPE"] == "x11" || said["TYPE"] == "wayland") && said["UID"] == strconv.FormatUint(uint64(uid), 10) &&
		said["DISPLAY"] != "" && session.CanonicalDisplay(said["DISPLAY"]) == display && l.agrees(said)
}

// isWayland is the same for a login that a compositor of uid's is in. Logind
// knows of no Wayland display by name.
func (h host) isWayland(l login, uid uint32) bool {
	said := h.said(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(l.scope), "session-"), ".scope"))
	return said["TYPE"] == "wayland" && said["UID"] == strconv.FormatUint(uint64(uid), 10) && said["SCOPE"] != "" && l.agrees(said)
}

// said is what logind has written of a session; nil: nothing.
func (h host) said(name string) map[string]string {
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(h.sessions, name))
	if err != nil {
		return nil
	}
	said := make(map[string]string)
	for line := range strings.SplitSeq(string(text), "\n") {
		key, value, _ := strings.Cut(line, "=")
		said[key] = value
	}
	return said
}

// agrees reports whether the kernel says the same of l as logind does, of the
// audit id or the scope or both.
func (l login) agrees(said map[string]string) bool {
	agreed := false
	if audit := said["AUDIT"]; audit != "" && audit != "0" && l.audit != session.NoAudit {
		if audit != strconv.FormatUint(uint64(l.audit), 10) {
			return false
		}
		agreed = true
	}
	if scope := said["SCOPE"]; scope != "" && l.scope != "" {
		if scope != filepath.Base(l.scope) {
			return false
		}
		agreed = true
	}
	return agreed
}

// uidMin is the first ordinary user's id. A file that cannot be read or
// understood is an error: to guess could take a system user for an ordinary one.
func (h host) uidMin() (uint32, error) {
	text, err := os.ReadFile(h.loginDefs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read UID_MIN: %w", err)
	}
	limit, err := logindefs.UIDMin(string(text))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", h.loginDefs, err)
	}
	return limit, nil
}

// realUID is the real user id of a process.
func (h host) realUID(pid int) (uint32, error) {
	text, err := os.ReadFile(h.proc + "/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "Uid:" {
			n, err := strconv.ParseUint(f[1], 10, 32)
			return uint32(n), err
		}
	}
	return 0, errors.New("no Uid line")
}

// leader opens a reference to pid, if it is a process of uid that is at least
// as old as we are: anything younger has got a number that was free again.
func (h host) leader(pid int, uid uint32) (*linux.PidFD, session.ProcID, error) {
	ref, err := linux.OpenPidFD(pid)
	if err != nil {
		return nil, session.ProcID{}, fmt.Errorf("leader %d: %w", pid, err)
	}
	id, err := h.verifyLeader(ref, pid, uid)
	if err != nil {
		_ = ref.Close()
		return nil, session.ProcID{}, fmt.Errorf("leader %d: %w", pid, err)
	}
	return ref, id, nil
}

func (h host) verifyLeader(ref *linux.PidFD, pid int, uid uint32) (session.ProcID, error) {
	start, err := linux.Birth(pid)
	if err != nil {
		return session.ProcID{}, err
	}
	owner, err := h.realUID(pid)
	if err != nil {
		return session.ProcID{}, err
	}
	if owner != uid {
		return session.ProcID{}, fmt.Errorf("belongs to uid %d, not to uid %d", owner, uid)
	}
	own, err := linux.Birth(os.Getpid())
	if err != nil {
		return session.ProcID{}, err
	}
	if start > own {
		return session.ProcID{}, errors.New("started after this program")
	}
	// What was read is of the process that ref means only if that still lives.
	if err := ref.Signal(0); err != nil {
		return session.ProcID{}, err
	}
	return session.ProcID{PID: pid, Start: start}, nil
}

// freshID makes a session id that nobody has.
func (h host) freshID() (session.ID, error) {
	text, err := os.ReadFile(h.proc + "/sys/kernel/random/uuid")
	if err != nil {
		return "", fmt.Errorf("make a session id: %w", err)
	}
	return session.ParseID(strings.TrimSpace(string(text)))
}
