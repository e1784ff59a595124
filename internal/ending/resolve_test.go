package ending

import (
	"errors"
	"os"
	"strings"
	"testing"

	"xexit/internal/config"
	"xexit/internal/linux"
	"xexit/internal/logindefs"
	"xexit/internal/registry"
	"xexit/internal/session"
)

const (
	firstID  = session.ID("11111111-1111-4111-8111-111111111111")
	secondID = session.ID("12222222-2222-4222-8222-222222222222")
	thirdID  = session.ID("33333333-3333-4333-8333-333333333333")
	otherID  = session.ID("99999999-9999-4999-8999-999999999999")
)

// registered is a registry with three live sessions, watched by this test.
func registered(t *testing.T) *registry.Registry {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []registry.Entry{
		{ID: firstID, Marked: true, Display: ":21", Audit: session.NoAudit, UID: 1000},
		{ID: secondID, Marked: true, Display: ":22", Audit: session.NoAudit, UID: 1000},
		{ID: thirdID, Display: "/run/user/1000/wayland-1", Wayland: true, Audit: session.NoAudit, UID: 1000},
	} {
		h, err := reg.Register(e)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
	}
	return reg
}

func TestResolve(t *testing.T) {
	reg := registered(t)
	tests := []struct {
		name    string
		euid    uint32
		environ []string
		asked   string
		want    session.ID
		known   bool
		wrong   string // part of the error
	}{
		{name: "by id", asked: string(firstID), want: firstID, known: true},
		{name: "by its beginning, in capitals too", asked: "12222222-2222-4222-8222-22222222222", want: secondID, known: true},
		{name: "by an ambiguous beginning", asked: "1", wrong: `"1" is the beginning of 2 sessions: 11111111 on :21, 12222222 on :22`},
		{name: "by something else", asked: "lunch", wrong: `no session "lunch"`},
		{name: "by the id of an unregistered one", asked: string(otherID), want: otherID},
		{name: "by the environment", environ: []string{"XEXIT_SESSION=" + string(secondID), "DISPLAY=:21"}, want: secondID, known: true},
		{name: "by the last of two settings", environ: []string{"XEXIT_SESSION=" + string(firstID), "XEXIT_SESSION=" + string(secondID)}, want: secondID, known: true},
		{name: "by an unregistered marker", environ: []string{"XEXIT_SESSION=" + string(otherID), "DISPLAY=:21"}, want: otherID},
		{name: "by a broken marker", environ: []string{"XEXIT_SESSION=x", "DISPLAY=:21"}, wrong: "XEXIT_SESSION in the environment"},
		{name: "by the display", environ: []string{"DISPLAY=:22.0"}, want: secondID, known: true},
		{name: "by an unknown display", environ: []string{"DISPLAY=:5"}, wrong: "name one with --session ID: 11111111 on :21"},
		{name: "by the Wayland display", environ: []string{"DISPLAY=:0", "WAYLAND_DISPLAY=wayland-1", "XDG_RUNTIME_DIR=/run/user/1000"}, want: thirdID, known: true},
		{name: "by another user's", environ: []string{"WAYLAND_DISPLAY=wayland-1", "XDG_RUNTIME_DIR=/run/user/1001"}, wrong: "--session"},
		{name: "on two displays, one within the other", environ: []string{"DISPLAY=:21", "WAYLAND_DISPLAY=/run/user/1000/wayland-1"}, wrong: "--session"},
		{name: "by nothing", wrong: "--session"},
		{name: "as root, by the environment", euid: 0, environ: []string{"XEXIT_SESSION=" + string(firstID)}, wrong: "root must name the session"},
		{name: "as root, by id", euid: 0, asked: string(firstID), want: firstID, known: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := Host{Environ: tt.environ, UID: 1000, EUID: 1000, Root: t.TempDir()}
			if strings.HasPrefix(tt.name, "as root") {
				h.EUID = 0
			}
			s, err := h.resolve(reg, tt.asked)
			e, known := s.Entry, s.known
			if tt.wrong != "" {
				if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), tt.wrong) {
					t.Fatalf("error %v, want a usage error with %q", err, tt.wrong)
				}
				return
			}
			if err != nil || e.ID != tt.want || known != tt.known {
				t.Fatalf("resolved %q, known %v, %v; want %q, %v", e.ID, known, err, tt.want, tt.known)
			}
			if !known && (e.OwnsLogin || e.Audit != session.NoAudit || len(e.Markers) > 0 || !e.Subreaper.IsZero()) {
				t.Errorf("an unregistered session has more evidence than its marker: %+v", e)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	limits := logindefs.Range{Min: 1000, Max: 60000}
	below := session.ProcID{PID: 77, Start: 1}
	tests := []struct {
		name    string
		euid    uint32
		entry   registry.Entry
		scope   session.Scope
		refused bool
	}{
		{"an ordinary user", 1000, registry.Entry{UID: 1000}, session.ScopeSession, false},
		{"a user of a directory service", 1_200_345, registry.Entry{UID: 1_200_345}, session.ScopeSession, false},
		{"a system user", 33, registry.Entry{UID: 33}, session.ScopeSession, true},
		{"nobody", 65534, registry.Entry{UID: 65534}, session.ScopeSession, true},
		{"a system user below a subreaper", 33, registry.Entry{UID: 33, Subreaper: below}, session.ScopeSession, false},
		{"root's own session", 0, registry.Entry{UID: 0}, session.ScopeSession, true},
		{"root's own session below a subreaper", 0, registry.Entry{UID: 0, Subreaper: below}, session.ScopeSession, false},
		{"all of an ordinary user", 1000, registry.Entry{UID: 1000}, session.ScopeUser, false},
		{"all of a user above UID_MAX", 70000, registry.Entry{UID: 70000}, session.ScopeUser, true},
		{"all of a system user below a subreaper", 33, registry.Entry{UID: 33, Subreaper: below}, session.ScopeUser, true},
		{"all of root", 0, registry.Entry{UID: 0, Subreaper: below}, session.ScopeUser, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Host{UID: tt.euid, EUID: tt.euid}.refuse(subject{Entry: tt.entry}, limits, tt.scope)
			if (err != nil) != tt.refused {
				t.Errorf("error %v, want refused %v", err, tt.refused)
			}
			if err != nil && !errors.Is(err, ErrUsage) {
				t.Errorf("error %v is no usage error", err)
			}
		})
	}
}

func TestLoginDefs(t *testing.T) {
	dir := t.TempDir()
	if got, err := loginDefs(dir + "/missing"); err != nil || got != (logindefs.Range{Min: 1000, Max: 60000}) {
		t.Errorf("a missing file: %+v, %v; want the defaults", got, err)
	}
	if _, err := loginDefs(dir); err == nil {
		t.Error("an unreadable file counts as the defaults")
	}
	path := dir + "/login.defs"
	for text, want := range map[string]string{"UID_MIN 500\n": "", "UMASK 022\nUID_MIN many\n": path + ": line 2: UID_MIN"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := loginDefs(path)
		if want == "" && (err != nil || got.Min != 500) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestConfiguredMarkers(t *testing.T) {
	h := Host{Environ: []string{"XEXIT_SESSION=" + string(firstID), "SITE=a", "DISPLAY=:5"}}
	names := []string{"SITE", "ABSENT", "DISPLAY"}
	known := []session.Marker{{Name: "DISPLAY", Value: ":21"}}

	own := registry.Entry{ID: firstID, Markers: known}
	h.addMarkers(&own, names)
	if len(own.Markers) != 2 || own.Markers[0] != known[0] || own.Markers[1] != (session.Marker{Name: "SITE", Value: "a"}) {
		t.Errorf("markers %v", own.Markers)
	}
	another := registry.Entry{ID: secondID, Markers: known}
	h.addMarkers(&another, names)
	if len(another.Markers) != 1 {
		t.Errorf("another session got markers of this environment: %v", another.Markers)
	}
}

func TestBound(t *testing.T) {
	start, err := linux.Birth(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	alive := session.ProcID{PID: os.Getpid(), Start: start}
	reused := session.ProcID{PID: os.Getpid(), Start: 1}
	dead := session.ProcID{PID: 1 << 22, Start: 1} // above every pid_max
	tests := []struct {
		name      string
		subreaper session.ProcID
		scope     session.Scope
		euid      uint32
		descent   bool
	}{
		{"no subreaper", session.ProcID{}, session.ScopeSession, 1000, false},
		{"below a subreaper", alive, session.ScopeSession, 1000, true},
		{"its subreaper is dead", dead, session.ScopeSession, 1000, false},
		{"its subreaper's number is another's by now", reused, session.ScopeSession, 1000, false},
		{"its subreaper is dead, and we are root", dead, session.ScopeSession, 0, true},
		{"all of the user", alive, session.ScopeUser, 1000, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := bound(registry.Entry{UID: 1000, Subreaper: tt.subreaper}, tt.scope, tt.euid)
			if b.ByDescentOnly != tt.descent || b.UID != 1000 {
				t.Errorf("bound %+v, want by descent only: %v", b, tt.descent)
			}
		})
	}
}

func TestBrokenConfigurationEndsNobody(t *testing.T) {
	path := t.TempDir() + "/xexit.toml"
	if err := os.WriteFile(path, []byte("grace = \"often\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := Host{Proc: "/proc", UID: 1000, EUID: 1000, Config: config.Paths{File: path}}
	_, err := h.Look(t.Context(), Request{Session: string(firstID)})
	if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), path+":1") {
		t.Errorf("error %v, want a usage error that names %s:1", err, path)
	}
}
