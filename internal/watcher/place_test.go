package watcher

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"xexit/internal/session"
)

// stage is a host of files: locks of X servers, processes, logind's sessions,
// and a runtime directory with a compositor's socket.
type stage struct {
	t       *testing.T
	h       host
	runtime string
	socket  string
}

func newStage(t *testing.T) *stage {
	dir := t.TempDir()
	s := &stage{t: t, runtime: filepath.Join(dir, "run")}
	s.h = host{proc: filepath.Join(dir, "proc"), sessions: filepath.Join(dir, "sessions"), locks: filepath.Join(dir, "tmp")}
	for _, d := range []string{s.h.proc, s.h.sessions, s.h.locks, s.runtime} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.socket = filepath.Join(s.runtime, "wayland-0")
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return s
}

func (s *stage) write(path, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) process(pid int, file, text string) {
	s.write(filepath.Join(s.h.proc, strconv.Itoa(pid), file), text)
}

// server says that process pid has the lock of an X display, and what it was
// started with.
func (s *stage) server(number, pid int, environ ...string) {
	s.write(filepath.Join(s.h.locks, fmt.Sprintf(".X%d-lock", number)), fmt.Sprintf("%10d\n", pid))
	s.process(pid, "environ", strings.Join(environ, "\x00")+"\x00")
}

func TestPlace(t *testing.T) {
	s := newStage(t)
	within := []string{"WAYLAND_DISPLAY=wayland-0", "XDG_RUNTIME_DIR=" + s.runtime}
	s.server(0, 100)                                        // the compositor itself, for its Xwayland
	s.server(6, 106, within...)                             // Xephyr, started in a terminal there
	s.server(7, 107, append(within, "WAYLAND_SOCKET=9")...) // Xwayland without a lock of the compositor's
	s.server(8, 108, "WAYLAND_DISPLAY=wayland-0", "XDG_RUNTIME_DIR=/run/user/1")
	s.server(9, 109, "WAYLAND_DISPLAY="+s.socket)
	s.write(filepath.Join(s.h.locks, ".X10-lock"), "rubbish\n")
	s.write(filepath.Join(s.h.locks, ".X11-lock"), "       111\n") // is gone
	x := func(name string) place { return place{display: name} }
	w := place{display: s.socket, wayland: true}
	for _, c := range []struct {
		name    string
		environ []string
		o       options
		want    place
	}{
		{"none", nil, options{}, place{}},
		{"X alone", []string{"DISPLAY=:0"}, options{}, x(":0")},
		{"Wayland alone", []string{"WAYLAND_DISPLAY=wayland-0"}, options{}, w},
		{"Wayland alone, not there yet", []string{"WAYLAND_DISPLAY=wayland-5"}, options{}, place{display: s.runtime + "/wayland-5", wayland: true}},
		{"both: Xwayland is not touched", []string{"DISPLAY=:0", "WAYLAND_DISPLAY=wayland-0"}, options{}, w},
		{"both, by path", []string{"DISPLAY=:0", "WAYLAND_DISPLAY=" + s.socket}, options{}, w},
		{"a stale Wayland display", []string{"DISPLAY=:0", "WAYLAND_DISPLAY=wayland-5"}, options{}, x(":0")},
		{"a Wayland display that cannot be", []string{"DISPLAY=:0", "WAYLAND_DISPLAY=" + strings.Repeat("x", 200)}, options{}, x(":0")},
		{"an X session", []string{"DISPLAY=:0", "WAYLAND_DISPLAY=wayland-0", "XDG_SESSION_TYPE=x11"}, options{}, x(":0")},
		{"a nested X server", []string{"DISPLAY=:6.0", "WAYLAND_DISPLAY=wayland-0", "XDG_SESSION_TYPE=wayland"}, options{}, x(":6.0")},
		{"a nested X server, by path", []string{"DISPLAY=:9", "WAYLAND_DISPLAY=wayland-0"}, options{}, x(":9")},
		{"Xwayland by another", []string{"DISPLAY=:7", "WAYLAND_DISPLAY=wayland-0"}, options{}, w},
		{"an X server of another Wayland session", []string{"DISPLAY=:8", "WAYLAND_DISPLAY=wayland-0"}, options{}, w},
		{"a lock that says nothing", []string{"DISPLAY=:10", "WAYLAND_DISPLAY=wayland-0"}, options{}, w},
		{"a lock of who is gone", []string{"DISPLAY=:11", "WAYLAND_DISPLAY=wayland-0"}, options{}, w},
		{"no lock", []string{"DISPLAY=:12", "WAYLAND_DISPLAY=wayland-0"}, options{}, w},
		{"another host", []string{"DISPLAY=there:6", "WAYLAND_DISPLAY=wayland-0"}, options{}, w},
		{"--display", []string{"DISPLAY=:0", "WAYLAND_DISPLAY=wayland-0"}, options{display: ":3"}, x(":3")},
		{"--wayland-display", []string{"DISPLAY=:6", "XDG_SESSION_TYPE=x11"}, options{wayland: "wayland-0"}, w},
	} {
		world := World{Environ: append([]string{"XDG_RUNTIME_DIR=" + s.runtime}, c.environ...)}
		if got, err := world.place(&c.o, s.h); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
	if got, err := (World{Environ: []string{"WAYLAND_DISPLAY=wayland-0"}}).place(&options{}, s.h); err == nil {
		t.Errorf("without a runtime directory: %+v", got)
	}
}

// The login of a Wayland session is its compositor's, and the session owns it
// only if logind says so and the compositor is nobody's client.
func TestLoginOfCompositor(t *testing.T) {
	const uid = 1000
	const scope = "/user.slice/user-1000.slice/session-3.scope"
	const good = "UID=1000\nTYPE=wayland\nSCOPE=session-3.scope\nAUDIT=3\n"
	here := login{audit: 3, scope: scope}
	nobody := login{audit: session.NoAudit}
	for _, c := range []struct {
		name    string
		status  string
		cgroup  string
		audit   string
		environ string
		said    string
		own     login
		want    login
		markers bool
		owns    bool
	}{
		{"in the login", "1000", scope, "3", "", good, here, here, true, true},
		{"seen from a user unit", "1000", scope, "3", "", good, login{audit: 2, manager: true}, here, false, true},
		{"seen from another login", "1000", scope, "3", "", good, login{audit: 4, scope: "/session-4.scope"}, here, false, true},
		{"nested in X", "1000", scope, "3", "DISPLAY=:0\x00", good, here, here, true, false},
		{"nested in Wayland", "1000", scope, "3", "A=b\x00WAYLAND_DISPLAY=wayland-0\x00", good, here, here, true, false},
		{"a tty's login", "1000", scope, "3", "", strings.Replace(good, "wayland", "tty", 1), here, here, true, false},
		{"another audit id", "1000", scope, "4", "", good, here, login{audit: 4, scope: scope}, false, false},
		{"logind says nothing", "1000", scope, "3", "", "", here, here, true, false},
		{"a service of the user's", "1000", "/user.slice/user-1000.slice/user@1000.service/session.slice/gnome-shell.service", "2", "", good, here, nobody, false, false},
		{"another user's", "0", scope, "3", "", good, here, nobody, false, false},
		{"no logind", "1000", "/", "4294967295", "", "", nobody, nobody, true, false},
	} {
		s := newStage(t)
		s.process(50, "status", "Name:\tc\nUid:\t"+c.status+"\t0\t0\t0\n")
		s.process(50, "cgroup", "0::"+c.cgroup+"\n")
		s.process(50, "sessionid", c.audit)
		s.process(50, "environ", c.environ)
		s.write(filepath.Join(s.h.sessions, "3"), c.said)
		got := s.h.on(50, c.own, uid)
		if got.login != c.want || (len(got.names) > 0) != c.markers || got.owns != c.owns {
			t.Errorf("%s: %+v", c.name, got)
		}
		if got := s.h.on(0, c.own, uid); got.login != nobody || got.known || got.names != nil || got.owns {
			t.Errorf("%s, compositor unknown: %+v", c.name, got)
		}
	}
}

func TestWaylandMarks(t *testing.T) {
	usual := place{display: "/run/user/1000/wayland-0", wayland: true}
	for _, c := range []struct {
		p     place
		value string
		names []string
		want  string
	}{
		{usual, "wayland-0", session.AmbientMarkers(), "[LTSP_CLIENT_HOSTNAME XDG_SESSION_ID XRDP_SESSION WAYLAND_DISPLAY]"},
		{usual, "wayland-0", nil, "[WAYLAND_DISPLAY]"},
		{place{display: "/tmp/run/wayland-0"}, "wayland-0", nil, "[]"}, // another has this name in its place
		{place{display: "/tmp/run/wayland-0"}, "/tmp/run/wayland-0", nil, "[WAYLAND_DISPLAY]"},
	} {
		if got := fmt.Sprint(c.p.marks(c.names, c.value, 1000)); got != c.want {
			t.Errorf("%+v %s: %s, want %s", c.p, c.value, got, c.want)
		}
	}
}
