package vm

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"xexit/tests/machine"
	"xexit/tests/vm/guest"
)

const (
	sigKill = int(syscall.SIGKILL)
	sigStop = int(syscall.SIGSTOP)
	sigCont = int(syscall.SIGCONT)
)

// display is an X server in the machine, or, over TCP, on this one.
type display struct {
	lab    *lab
	name   string
	env    []string // of its clients
	pid    int
	signal func(int)
	state  func() string
}

// server starts one in the machine and returns when it takes clients.
func (l *lab) server(user, name, number string, argv ...string) *display {
	l.t.Helper()
	var secret [16]byte
	_, _ = rand.Read(secret[:])
	cookies := fmt.Sprintf("/run/user/%d/%s.xauth", machine.Users["alice"], name)
	l.done("alice", "xauth", "-q", "-f", cookies, "add", number, ".", hex.EncodeToString(secret[:]))
	d := &display{lab: l, name: number, env: []string{"DISPLAY=" + number, "XAUTHORITY=" + cookies}}
	d.pid = l.start(guest.Command{
		Argv: append(argv, number, "-auth", cookies, "-nolisten", "tcp"), User: user, Output: machine.Home(user) + "/" + name + ".server",
	})
	d.signal = func(sig int) {
		l.t.Helper()
		l.must(l.Ask("Signal", guest.Signal{PID: d.pid, Signal: sig}, new(bool)))
	}
	d.state = func() string { return l.state(d.pid) }
	l.t.Cleanup(func() {
		if d.state() != "" {
			d.signal(sigKill)
		}
	})
	// No client tells: a server with -terminate would end with it.
	socket := "@/tmp/.X11-unix/X" + number[1:] + "\n"
	l.until("the server of "+name+" takes clients", func() bool {
		return d.state() == "" || strings.Contains(l.read("/proc/net/unix"), socket)
	})
	if d.state() == "" {
		l.t.Fatalf("%s ended: %s", argv[0], l.read(machine.Home(user)+"/"+name+".server"))
	}
	if !slices.Contains(argv, "-terminate") {
		l.client(d, "xprop", "-root") // it is answered when the server is up
	}
	return d
}

// client runs a client to its end.
func (l *lab) client(d *display, argv ...string) {
	l.t.Helper()
	var r guest.Result
	l.must(l.Ask("Run", guest.Command{Argv: argv, Env: d.env, User: "alice"}, &r))
	if r.Status != 0 {
		l.t.Fatalf("%s: exit status %d\n%s", strings.Join(argv, " "), r.Status, r.Output)
	}
}

func (l *lab) xvfb(name, number string) *display {
	l.t.Helper()
	return l.server("alice", name, number, "Xvfb", "-screen", "0", "64x64x24", "-noreset")
}

// far starts a server on this machine, which goes on while the other sleeps.
func (l *lab) far() *display {
	l.t.Helper()
	read, write, err := os.Pipe()
	l.must(err)
	defer read.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "64x64x24", "-noreset", "-ac", "-listen", "tcp", "-nolisten", "unix", "-nolisten", "local")
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	l.must(cmd.Start())
	_ = write.Close()
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	l.must(read.SetReadDeadline(time.Now().Add(Guard)))
	number, err := bufio.NewReader(read).ReadString('\n')
	l.must(err)
	name := guest.Host + ":" + strings.TrimSpace(number)
	return &display{
		lab: l, name: name, env: []string{"DISPLAY=" + name},
		signal: func(sig int) {
			l.t.Helper()
			l.must(cmd.Process.Signal(syscall.Signal(sig)))
		},
		state: func() string {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
			if err != nil {
				return ""
			}
			return string(text[strings.LastIndexByte(string(text), ')')+2])
		},
	}
}

// stop stops a server, and proves it.
func (d *display) stop() {
	d.lab.t.Helper()
	d.signal(sigStop)
	d.lab.until("the server of "+d.name+" is stopped", func() bool { return d.state() == "T" })
}

// watcher is one `xexit watch` of alice's.
type watcher struct {
	lab       *lab
	pid       int
	log, ends string // files
}

// watch starts one and returns when it watches.
func (d *display) watch(name string, flags ...string) *watcher {
	l := d.lab
	l.t.Helper()
	w := &watcher{lab: l, log: filepath.Join("/home/alice", name+".log"), ends: filepath.Join("/home/alice", name+".end")}
	argv := append([]string{"xexit", "watch", "--foreground"}, flags...)
	argv = append(argv, "--", "sh", "-c", `echo "$XEXIT_REASON" >>`+w.ends)
	w.pid = l.start(guest.Command{Argv: argv, Env: d.env, User: "alice", Output: w.log})
	w.says("watching", 1)
	return w
}

func (w *watcher) says(expression string, count int) {
	w.lab.t.Helper()
	w.lab.says(w.log, expression, count)
}

// watches demands that the watcher is there and has ended nothing.
func (w *watcher) watches() {
	w.lab.t.Helper()
	if state, end := w.lab.state(w.pid), w.lab.read(w.ends); state == "" || end != "" {
		w.lab.t.Errorf("watcher's state %q, end %q:\n%s", state, end, w.lab.read(w.log))
	}
}

// over waits until the watcher has seen the end, and demands its reason.
func (w *watcher) over(reason string) {
	w.lab.t.Helper()
	w.lab.until("the watcher is gone", func() bool { return w.lab.state(w.pid) == "" })
	if end := w.lab.read(w.ends); end != reason+"\n" {
		w.lab.t.Errorf("end %q, want one by %s:\n%s", end, reason, w.lab.read(w.log))
	}
}
