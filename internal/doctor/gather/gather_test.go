package gather

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xexit/internal/display/displaytest"
	"xexit/internal/doctor"
	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/session"
)

const (
	idA = session.ID("11111111-1111-4111-8111-111111111111")
	idB = session.ID("12222222-2222-4222-8222-222222222222")
)

// registered is a runtime directory with two sessions that this test watches.
func registered(t *testing.T) (runtime string) {
	t.Helper()
	runtime = t.TempDir()
	if err := os.Chmod(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	host := Host{Environ: []string{"XDG_RUNTIME_DIR=" + runtime}, UID: uint32(os.Getuid())}
	dir, err := registry.Dir(host.getenv, host.UID)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	birth, err := linux.Birth(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	me := session.ProcID{PID: os.Getpid(), Start: birth}
	for _, e := range []registry.Entry{
		{ID: idA, Marked: true, Display: ":9321", Program: "/opt/kill", Timing: registry.Timing{HungAfter: 9e9}},
		{ID: idB, Display: ":9322", Leader: me},
	} {
		e.Audit, e.UID, e.Watcher, e.Start = session.NoAudit, host.UID, me, birth
		h, err := reg.Register(e)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
	}
	return runtime
}

func look(t *testing.T, runtime string, req Request, environ ...string) (doctor.Facts, error) {
	t.Helper()
	host := ThisHost(append([]string{"XDG_RUNTIME_DIR=" + runtime, "HOME=" + runtime}, environ...))
	host.Root = files()
	return host.Facts(t.Context(), req)
}

func TestSessions(t *testing.T) {
	t.Parallel()
	runtime := registered(t)
	for _, c := range []struct {
		name    string
		environ []string
		req     Request
		want    []session.ID // "": this shell, in none
		current bool         // the first of them
	}{
		{"by marker", []string{"XEXIT_SESSION=" + string(idA), "DISPLAY=:9322"}, Request{}, []session.ID{idA}, true},
		{"by display", []string{"DISPLAY=:9322.0"}, Request{}, []session.ID{idB}, true},
		{"by a marker that nobody knows", []string{"XEXIT_SESSION=99999999-9999-4999-8999-999999999999", "DISPLAY=:9322"}, Request{}, []session.ID{"99999999-9999-4999-8999-999999999999"}, true},
		{"none", nil, Request{}, []session.ID{""}, true},
		{"asked for", []string{"DISPLAY=:9322"}, Request{Session: "111"}, []session.ID{idA}, false},
		{"all", []string{"DISPLAY=:9322"}, Request{All: true}, []session.ID{idA, idB}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := look(t, runtime, c.req, c.environ...)
			if err != nil {
				t.Fatal(err)
			}
			var got []session.ID
			for _, s := range f.Sessions {
				got = append(got, s.ID)
			}
			if len(got) != len(c.want) || got[0] != c.want[0] || got[len(got)-1] != c.want[len(c.want)-1] || f.Sessions[0].Current != c.current {
				t.Errorf("sessions %v, current %v; want %v, %v", got, f.Sessions[0].Current, c.want, c.current)
			}
			registered := 0
			for _, s := range f.Sessions {
				if s.Registered {
					registered++
				}
			}
			if registered+len(f.Others) != 2 {
				t.Errorf("%d sessions and the others %v", registered, f.Others)
			}
		})
	}
	for _, asked := range []string{"1", "3"} {
		if _, err := look(t, runtime, Request{Session: asked}); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "11111111 :9321") {
			t.Errorf("%s: %v", asked, err)
		}
	}
}

// What the registry says comes through, and a display that is not there is
// told from one that does not answer.
func TestSessionFacts(t *testing.T) {
	t.Parallel()
	f, err := look(t, registered(t), Request{Session: string(idA)})
	if err != nil {
		t.Fatal(err)
	}
	s := f.Sessions[0]
	if !s.Registered || s.Program != "/opt/kill" || !s.Marked || s.Leader || s.Subreaper || s.Phase != session.PhaseWatching {
		t.Errorf("%+v", s)
	}
	if s.Watcher.PID != os.Getpid() || s.Watcher.State != doctor.Running {
		t.Errorf("watcher %+v", s.Watcher)
	}
	if s.Sight.Answer != doctor.Nobody || s.Sight.Link != doctor.LinkUnix || strings.Contains(s.Sight.Why, "display") {
		t.Errorf("%+v", s.Sight)
	}
	if s.Times.Hung.Seconds() != 9 || s.Times.Lost.Seconds() < 15 {
		t.Errorf("%+v", s.Times)
	}
	if f.Machine.Kernel == "" || f.Machine.PidFD != "" || f.User.Name == "" || f.User.UIDMin != 1000 {
		t.Errorf("%+v %+v", f.Machine, f.User)
	}
}

// In a Wayland session the compositor is looked at, and Xwayland is left alone.
func TestWaylandShell(t *testing.T) {
	t.Parallel()
	runtime := t.TempDir()
	if err := os.Chmod(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	srv, err := displaytest.StartWayland(runtime)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Close() }()
	f, err := look(t, runtime, Request{}, "WAYLAND_DISPLAY=wayland-0", "DISPLAY=:9323")
	if err != nil {
		t.Fatal(err)
	}
	s := f.Sessions[0]
	if s.Start.Wayland != srv.Display() || s.Display != srv.Display() || s.Sight.Link != doctor.LinkWayland || s.Sight.Answer != doctor.Answered || s.Sight.Server.PID != os.Getpid() {
		t.Errorf("%+v", s)
	}
	for _, environ := range [][]string{
		{"WAYLAND_DISPLAY=wayland-0", "DISPLAY=:9323", "XDG_SESSION_TYPE=x11"},
		{"WAYLAND_DISPLAY=wayland-1", "DISPLAY=:9323"},
	} {
		f, err := look(t, runtime, Request{}, environ...)
		if err != nil || f.Sessions[0].Start.Wayland != "" || f.Sessions[0].Sight.Link != doctor.LinkUnix {
			t.Errorf("%v: %+v, %v", environ, f.Sessions, err)
		}
	}
}

func TestRuntimeDirectory(t *testing.T) {
	t.Parallel()
	runtime := t.TempDir()
	if err := os.Mkdir(filepath.Join(runtime, "xexit"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := look(t, runtime, Request{})
	if err != nil || !strings.Contains(f.Records.RuntimeBad, "chmod 700") {
		t.Errorf("%+v, %v", f.Records, err)
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cgroup, scope, unit string }{
		{"/", "", ""},
		{"/user.slice/user-1000.slice/session-5.scope", "session-5.scope", ""},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/app-term-9.scope", "", "app-term-9.scope"},
		{"/system.slice/cron.service", "", ""},
	} {
		if scope, unit := units(c.cgroup); scope != c.scope || unit != c.unit {
			t.Errorf("%s: %q, %q", c.cgroup, scope, unit)
		}
	}
}

func TestWritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, bad := range map[string]bool{
		file:                            false,
		filepath.Join(dir, "a/b/c"):     false,
		filepath.Join(file, "below"):    true, // not a directory
		"/proc/sys/kernel/none/history": true, // nobody may make that, not even root
	} {
		if why := writable(path); (why != "") != bad {
			t.Errorf("%s: %q", path, why)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("it has made something: %v", left)
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan struct{})
	defer close(hang)
	cancel()
	if why := bounded(ctx, func() string { <-hang; return "" }); !strings.Contains(why, "does not answer") {
		t.Errorf("%q", why)
	}
}

func TestHeard(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "log")
	if why := heard(socket); why != "no such file or directory" {
		t.Errorf("absent: %q", why)
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if why := heard(socket); why != "" {
		t.Errorf("there: %q", why)
	}
	_ = l.Close()
	if why := heard(socket); why == "" {
		t.Error("a socket that nobody listens at")
	}
}
