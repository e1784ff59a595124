package displayd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"xexit/internal/display/displaytest"
	"xexit/internal/session"
)

// service is a worker that comes to a socket by itself, as its unit does.
type service struct {
	t      testing.TB
	socket string
	pid    atomic.Int32 // of the worker that may serve
	cmd    *exec.Cmd
}

func newService(t testing.TB) *service {
	dir, err := os.MkdirTemp("", "xexit-displayd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &service{t: t, socket: filepath.Join(dir, "display.sock")}
}

func (s *service) options() Options {
	return Options{Worker: Listen(s.socket, func(pid int, _ uint32) error {
		if int32(pid) != s.pid.Load() {
			return syscall.EACCES
		}
		return nil
	})}
}

func (s *service) start() {
	s.t.Helper()
	s.cmd = exec.Command(self(), WorkerVerb, "--socket", s.socket)
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.pid.Store(int32(cmd.Process.Pid))
}

func (s *service) kill() {
	s.t.Helper()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// A worker that dies takes no display with it: the next one watches all of
// them, and sees what has ended in between.
func TestWorkerKilled(t *testing.T) {
	s := newService(t)
	r := runClient(t, s.options())
	s.start()
	_, n := r.await("", WorkerBack, 0)
	dirs := make([]string, 4)
	servers := make([]*displaytest.Server, len(dirs))
	serve := func(i int) {
		var err error
		if servers[i], err = displaytest.Start(dirs[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range dirs {
		dirs[i] = t.TempDir()
		serve(i)
		t.Cleanup(func() { _ = servers[i].Close() })
		r.watch(strconv.Itoa(i), here(servers[i].Display()))
	}
	for i := range dirs {
		r.await(strconv.Itoa(i), Opened, n)
	}
	s.kill()
	_, n = r.await("", WorkerLost, n)
	servers[1].PullCable() // gone
	servers[2].PullCable() // another one comes in its place
	serve(2)
	s.start()
	_, n = r.await("", WorkerBack, n)
	r.await("0", Opened, n)
	r.await("3", Opened, n)
	for _, login := range []string{"1", "2"} {
		if e, _ := r.await(login, Ended, n); e.Reason != session.ReasonServerGone {
			t.Errorf("%+v", e)
		}
	}
	servers[3].PullCable()
	r.await("3", Ended, n)
	if r.count(Ended) != 3 {
		t.Errorf("%d ends", r.count(Ended))
	}
}

// A daemon that is started again finds its displays watched all the while.
func TestDaemonRestarted(t *testing.T) {
	s := newService(t)
	o := s.options()
	var opened atomic.Int32
	children := ChildOpener(self())
	o.Opener = func(ctx context.Context, op Opening) error {
		if op.Login == "stays" {
			opened.Add(1)
		}
		return children(ctx, op)
	}
	first := runClient(t, o)
	s.start()
	stays, goes, dropped := fake(t, displaytest.Options{}), fake(t, displaytest.Options{}), fake(t, displaytest.Options{})
	specs := map[string]Spec{"stays": here(stays.Display()), "goes": here(goes.Display()), "dropped": here(dropped.Display())}
	for login, spec := range specs {
		first.watch(login, spec)
	}
	for login, spec := range specs {
		e, _ := first.await(login, Opened, 0)
		spec.Resume = e.Resume
		specs[login] = spec
	}
	first.stop()
	goes.PullCable()
	waitFor(t, func() bool { return goes.Clients() == 0 })

	next := runClient(t, o)
	next.watch("stays", specs["stays"])
	next.watch("goes", specs["goes"])
	if e, _ := next.await("goes", Ended, 0); e.Reason != session.ReasonServerGone {
		t.Errorf("%+v", e)
	}
	next.await("stays", Opened, 0)
	waitFor(t, func() bool { return dropped.Clients() == 0 })
	if n := opened.Load(); n != 1 {
		t.Errorf("%d openers were run for one connection", n)
	}
	stays.PullCable()
	next.await("stays", Ended, 0)
}
