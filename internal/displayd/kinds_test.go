package displayd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/display/displaytest"
	"xexit/internal/session"
)

// A thin client's display over TCP, by the name that logind has for it.
func TestTCP(t *testing.T) {
	srv, err := displaytest.StartTCP("127.0.0.1:0", displaytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	r := runClient(t, Options{})
	s := here(srv.Display())
	s.LostAfter = 0
	r.watch("4", s)
	_, n := r.await("4", Opened, 0)
	srv.DropClients() // and it answers again
	waitFor(t, func() bool { return srv.Clients() == 1 })
	srv.PullCable()
	r.await("4", Ended, n)
}

// A compositor is found by the environment of the login's processes, or as the
// only one in the runtime directory; and told from another one after a restart
// of the worker by the process that listens.
func TestWayland(t *testing.T) {
	dir := t.TempDir()
	srv, err := displaytest.StartWayland(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	leader := func(env ...string) Spec {
		cmd := exec.Command(self(), sleeperVerb)
		cmd.Env, cmd.SysProcAttr = env, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
		return Spec{UID: uint32(os.Getuid()), Leader: identity(t, cmd.Process.Pid), Wayland: true}
	}
	s := newService(t)
	r := runClient(t, s.options())
	s.start()
	r.watch("named", leader("XDG_RUNTIME_DIR="+dir, "WAYLAND_DISPLAY=wayland-0", "DISPLAY=:99"))
	r.watch("path", leader("WAYLAND_DISPLAY="+filepath.Join(dir, "wayland-0")))
	for _, login := range []string{"named", "path"} {
		if e, _ := r.await(login, Opened, 0); !strings.HasPrefix(e.Resume, byServer) {
			t.Errorf("%+v", e)
		}
	}
	s.kill()
	_, n := r.await("", WorkerLost, 0)
	s.start()
	_, n = r.await("", WorkerBack, n)
	r.await("named", Opened, n)
	r.await("path", Opened, n)
	srv.PullCable()
	for _, login := range []string{"named", "path"} {
		if e, _ := r.await(login, Ended, n); e.Reason != session.ReasonServerGone {
			t.Errorf("%+v", e)
		}
	}
}

// Of several compositors in a runtime directory none is taken.
func TestOnlySocket(t *testing.T) {
	dir := t.TempDir()
	if p, err := onlySocket(dir); err == nil {
		t.Errorf("%+v in an empty directory", p)
	}
	first, err := displaytest.StartWayland(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = first.Close() })
	for _, name := range []string{"wayland-0.lock", "wayland-7"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := onlySocket(dir); err != nil || p.Name != filepath.Join(dir, "wayland-0") || !p.Wayland {
		t.Errorf("%+v, %v", p, err)
	}
	if err := os.Rename(filepath.Join(dir, "wayland-0"), filepath.Join(dir, "wayland-1")); err != nil {
		t.Fatal(err)
	}
	second, err := displaytest.StartWayland(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Close() })
	if p, err := onlySocket(dir); err == nil {
		t.Errorf("%+v of two", p)
	}
}
