package vm

import (
	"fmt"
	"time"

	"xexit/tests/vm/guest"
)

// xorg starts Xorg on the graphics card and a virtual terminal, which is in
// front then.
func (l *lab) xorg(name, number string, terminal int, args ...string) *display {
	l.t.Helper()
	argv := []string{xorg, fmt.Sprintf("vt%d", terminal), "-config", "/etc/X11/modesetting.conf", "-logfile", "/var/log/" + name}
	d := l.server("root", name, number, append(argv, args...)...)
	l.until("its terminal is in front", func() bool {
		var active int
		l.must(l.Ask("Terminal", 0, &active))
		return active == terminal
	})
	return d
}

// dummy starts Xorg with its dummy driver, which wants no virtual terminal
// (HW_SKIP_CONSOLE), whatever its arguments say.
func (l *lab) dummy(name, number string) *display {
	l.t.Helper()
	return l.server("root", name, number, xorg, "-config", "/etc/X11/dummy.conf", "-logfile", "/var/log/"+name, "-noreset")
}

// front switches to a virtual terminal, if it is not 0, and demands which one is
// in front then.
func (l *lab) front(to, want int) {
	l.t.Helper()
	var active int
	l.must(l.Ask("Terminal", to, &active))
	if active != want {
		l.t.Fatalf("terminal %d is in front, not %d", active, want)
	}
}

// checkXorg: a session that is open but not in front lives, as does one whose
// server is grabbed; its real end is seen.
func (l *lab) checkXorg() {
	d := l.xorg("first", ":390", 7, "-noreset")
	other := l.xorg("second", ":391", 8, "-noreset") // user switching: another one's
	w := d.watch("first", "--lost-after", "3s", "--interval", "1s")
	w2 := other.watch("second", "--lost-after", "3s", "--interval", "1s")

	l.front(1, 1)
	l.pass(8 * time.Second)
	w.watches()
	w2.watches()
	l.front(7, 7)
	l.pass(4 * time.Second)
	w.watches()
	l.front(8, 8)
	other.signal(sigKill)
	w2.over("server-gone")
	l.front(7, 7)
	w.watches()

	// Grabbed for longer than a lost link may be silent.
	l.start(guest.Command{Argv: []string{"sh", "-c", "sleep 10 | /usr/libexec/xexit-test/grab"}, Env: d.env, User: "alice", Output: "/home/alice/grab"})
	l.says("/home/alice/grab", "grabbed", 1)
	w.says("display is BUSY", 1)
	w.watches()
	w.says("display is OK", 1)
	w.watches()
	l.front(1, 1)
	d.signal(sigKill)
	w.over("server-gone")

	l.terminates()
}

// terminates: a server that ends with its last client does so although it is
// watched, and not before its session is over.
func (l *lab) terminates() {
	l.t.Helper()
	d := l.xorg("third", ":392", 7, "-terminate")
	leader := l.start(guest.Command{Argv: []string{"xprop", "-root", "-spy"}, Env: d.env, User: "alice", Output: "/home/alice/spy"})
	l.says("/home/alice/spy", "XFree86_VT", 1)
	w := d.watch("third", "--lost-after", "3s", "--leader", fmt.Sprint(leader))
	l.front(1, 1)
	l.pass(5 * time.Second)
	w.watches()
	if d.state() == "" {
		l.t.Fatal("the server is gone already")
	}
	l.must(l.Ask("Signal", guest.Signal{PID: leader, Signal: sigKill}, new(bool)))
	w.over("logout")
	l.until("the server has terminated", func() bool { return d.state() == "" })
}
