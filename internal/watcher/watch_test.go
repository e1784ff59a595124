package watcher_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xexit/internal/registry"
)

// tell is a PROGRAM that says all about itself through the fifo.
const tell = `{
	echo "args $*"
	echo "cwd $(pwd)"
	read -r pid comm state ppid pgid sid rest </proc/self/stat
	[ "$sid" = "$$" ] && echo "leads its session"
	grep -z . /proc/$$/environ | tr '\0' '\n' | grep -v -e ^_= -e ^PWD= -e ^OLDPWD= -e ^SHLVL= | sort | sed 's/^/env /'
	(stat -c %N /proc/$$/fd/[0-9] >$SAID.open) # with a pipe it could see this shell's end of that
	sed "s/.*fd./fd /; s/' -> '/ /; s/'$//" $SAID.open
	echo end
} >$SAID
echo some output
`

func TestServerKilled(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	f.env = append(f.env, "XEXIT_SESSION=1b4e28ba-2fa1-41d2-883f-0016d3cca427", "LTSP_CLIENT_HOSTNAME=ltsp101",
		"XEXIT_OWNS_LOGIN=1", "XEXIT_REASON=stale", fmt.Sprintf("XEXIT_LEADER=%d", os.Getpid()), "ODD=two\nlines")
	e := f.watch("--", f.script("program", tell), "one", "t w o")

	if e.ID != "1b4e28ba-2fa1-41d2-883f-0016d3cca427" || !e.Marked || e.Display != x.display {
		t.Errorf("registered %+v", e)
	}
	if want := fmt.Sprintf("[{LTSP_CLIENT_HOSTNAME ltsp101} {DISPLAY %s}]", x.display); fmt.Sprint(e.Markers) != want {
		t.Errorf("markers %v, want %s", e.Markers, want)
	}
	if e.Leader.PID != os.Getpid() || e.Start != e.Leader.Start {
		t.Errorf("leader %+v, start %d", e.Leader, e.Start)
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", e.Watcher.PID))
	if err != nil || string(environ) != "GOMAXPROCS=1\x00" {
		t.Errorf("the watcher's own environment: %q, %v", environ, err)
	}

	x.kill()
	// The record is begun beside PROGRAM and done after it.
	lines, recorded := []string{}, []string{}
	for range 2 {
		for _, line := range f.lines() {
			if strings.HasPrefix(line, "record ") {
				recorded = append(recorded, line)
			} else {
				lines = append(lines, line)
			}
		}
	}
	out := filepath.Join(f.runtime, "xexit", string(e.ID)+".out")
	env := []string{}
	for _, entry := range f.env {
		if name, _, _ := strings.Cut(entry, "="); !strings.HasPrefix(name, "XEXIT_") && name != "ODD" {
			env = append(env, "env "+entry)
		}
	}
	env = append(env, "env ODD=two", "env lines", "env XEXIT_SESSION="+string(e.ID), "env XEXIT_REASON=server-gone", "env XEXIT_USER=tester",
		"env XEXIT_DISPLAY="+x.display, "env XEXIT_CLIENT=ltsp101", "env XEXIT_PHASE=ending")
	want := append([]string{"args one t w o", "cwd /", "leads its session"}, env...)
	want = append(want, "fd 0 /dev/null", "fd 1 "+f.fifo, "fd 2 "+out)
	var got []string
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "env XEXIT_NOTICED="), strings.HasPrefix(line, "env XEXIT_ENDED_AT="):
		case strings.HasPrefix(line, "env XEXIT_NOTICED_US="):
			if us, err := strconv.Atoi(strings.TrimPrefix(line, "env XEXIT_NOTICED_US=")); err != nil || us < 0 {
				t.Error(line)
			}
		default:
			got = append(got, line)
		}
	}
	if len(lines)-len(got) != 3 {
		t.Error("a variable of the three that vary is missing, or twice there")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("PROGRAM saw\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i, want := range []string{"record begin ", "record done "} {
		if line := recorded[i]; !strings.HasPrefix(line, want+"session="+string(e.ID)) || !strings.Contains(line, "output-file="+out) ||
			strings.Contains(line, " status=0 ") != (i == 1) {
			t.Errorf("recorded %q", line)
		}
	}
	f.leave(e)
	if left, _ := filepath.Glob(filepath.Join(f.runtime, "xexit", "?*-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProperty(t *testing.T) {
	for _, c := range []struct {
		value  string
		before bool // set before the watcher starts
		runs   bool
	}{
		{"DIE", false, true},
		{"EXIT", false, false},
		{"DIE", true, true},
		{"EXIT", true, false},
	} {
		t.Run(fmt.Sprintf("%s before %v", c.value, c.before), func(t *testing.T) {
			x := startX(t)
			f := newFixture(t, x.display)
			program := f.script("program", `echo "ran for $XEXIT_REASON" >$SAID`)
			if c.before {
				x.set(t, c.value)
				if status, out := f.run("watch", "--foreground", "--", program); status != 0 {
					t.Errorf("status %d: %s", status, out)
				}
			} else {
				e := f.watch("--", program)
				x.set(t, c.value)
				defer f.leave(e)
			}
			if c.runs {
				if line := f.heard("ran"); line != "ran for requested" {
					t.Error(line)
				}
				return
			}
			for _, e := range f.sessions() {
				f.leave(e.Entry)
			}
			f.silent()
		})
	}
}

// Whoever waits for a pipe that the launcher had must not wait for the session.
func TestInheritedDescriptors(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	cmd := f.command("watch", "--", f.script("program", `exit 0`))
	cmd.ExtraFiles = []*os.File{6: w} // descriptor 9: the watcher has others below
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_ = w.Close()
	_ = r.SetReadDeadline(time.Now().Add(hangGuard))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the watcher holds the pipe: %v", err)
	}
	if all := f.sessions(); len(all) != 1 || !all[0].Live {
		t.Errorf("registered %+v", all)
	}
}

// heard skips to the line that begins with word: records come in between.
func (f *fixture) heard(word string) string {
	f.t.Helper()
	for {
		if line := f.line(); strings.HasPrefix(line, word) {
			return line
		}
	}
}

// recorded is the last line of PROGRAM's record.
func (f *fixture) recorded() string {
	f.t.Helper()
	line := f.heard("record done")
	f.heard("end")
	return line
}

// silent: nothing has been said up to now; a mark of our own tells.
func (f *fixture) silent() {
	f.t.Helper()
	file, err := os.OpenFile(f.fifo, os.O_WRONLY, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.WriteString("nothing\n"); err != nil {
		f.t.Fatal(err)
	}
	if line := f.line(); line != "nothing" {
		f.t.Errorf("said %q", line)
	}
}

func TestSecondWatcherLeaves(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	program := f.script("program", `echo ran >$SAID`)
	e := f.watch("--", program)
	f.env = append(f.env, "DISPLAY=unix"+x.display+".0")
	status, out := f.run("watch", "--", program)
	if status != 0 || !strings.Contains(out, "watched already") {
		t.Errorf("status %d: %s", status, out)
	}
	x.kill()
	f.heard("ran")
	f.recorded()
	f.leave(e)
	f.silent() // it ran once
}

func TestAskedToLeave(t *testing.T) {
	t.Run("display lives", func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
			x := startX(t)
			f := newFixture(t, x.display)
			e := f.watch("--", f.script("program", `echo ran >$SAID`))
			f.signal(e, sig)
			f.leave(e)
			f.silent()
			if all := f.sessions(); len(all) != 0 {
				t.Errorf("still registered: %+v", all)
			}
		}
	})
	t.Run("display goes while it looks", func(t *testing.T) {
		x := startX(t)
		f := newFixture(t, x.display)
		e := f.watch("--", f.script("program", `echo ran >$SAID`))
		f.signal(e, syscall.SIGTERM)
		x.kill()
		f.heard("ran")
	})
	t.Run("leader has exited", func(t *testing.T) {
		x := startX(t)
		f := newFixture(t, x.display)
		stdin, leader := f.leader()
		e := f.watch("--leader", strconv.Itoa(leader), "--", f.script("program", `echo "ran for $XEXIT_REASON" >$SAID`))
		stdin()
		f.signal(e, syscall.SIGTERM)
		if line := f.heard("ran"); line != "ran for logout" {
			t.Error(line)
		}
	})
}

// leader starts a process that exits, and is collected, when end is called.
func (f *fixture) leader() (end func(), pid int) {
	f.t.Helper()
	cmd := f.command()
	cmd.Path, cmd.Args = "/bin/cat", []string{"cat"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	return func() { _ = stdin.Close(); _ = cmd.Wait() }, cmd.Process.Pid
}

// A script that ends all of its user's processes ends the watcher, too.
func TestProgramAndItsWatcher(t *testing.T) {
	find := `watcher=$(sed -n 's/^watcher="\([0-9]*\) .*/\1/p' "$XDG_RUNTIME_DIR/xexit/$XEXIT_SESSION.session")` + "\n"
	t.Run("TERM", func(t *testing.T) {
		x := startX(t)
		f := newFixture(t, x.display)
		e := f.watch("--", f.script("program", find+`kill -TERM $watcher; kill -HUP $watcher; kill -INT $watcher; echo out; echo ran >$SAID; exit 7`))
		x.kill()
		f.heard("ran")
		if line := f.recorded(); !strings.Contains(line, " status=7 ") {
			t.Error(line)
		}
		f.leave(e)
	})
	t.Run("KILL", func(t *testing.T) {
		x := startX(t)
		f := newFixture(t, x.display)
		e := f.watch("--", f.script("program", find+`kill -KILL $watcher
			while kill -0 $watcher 2>/dev/null && ! grep -q ' Z ' /proc/$watcher/stat; do :; done
			i=0; while [ $i -lt 2000 ]; do echo "line $i, long enough to overflow a pipe"; i=$((i+1)); done
			echo ran on >$SAID`))
		x.kill()
		f.heard("ran on")
		f.leave(e)
		out, err := os.ReadFile(filepath.Join(f.runtime, "xexit", string(e.ID)+".out"))
		if err != nil || !strings.Contains(string(out), "line 1999") {
			t.Errorf("output: %d bytes, %v", len(out), err)
		}
		f.unlocked(e)
		if all := f.sessions(); len(all) != 1 || all[0].Live {
			t.Errorf("its session counts as alive: %+v", all)
		}
	})
}

// unlocked waits until nobody has the lock of a session whose watcher was
// ended: the record that it was about to start shares its descriptors up to
// its execve.
func (f *fixture) unlocked(e registry.Entry) {
	f.t.Helper()
	lock, err := os.Open(filepath.Join(f.runtime, "xexit", string(e.ID)+".lock"))
	if err != nil {
		f.t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		defer func() { _ = lock.Close() }()
		got <- unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}()
	select {
	case err := <-got:
		if err != nil {
			f.t.Fatal(err)
		}
	case <-time.After(hangGuard):
		f.t.Fatal("somebody holds the session's lock")
	}
}

func TestEndedBefore(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	e := f.watch("--", f.script("program", `echo ran >$SAID`))
	if err := f.registry().SetPhase(e.ID, "ended", 1); err != nil {
		t.Fatal(err)
	}
	x.kill()
	f.leave(e)
	f.silent()
}

func TestEndUnderWay(t *testing.T) {
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprintf("dead %v", dead), func(t *testing.T) {
			x := startX(t)
			f := newFixture(t, x.display)
			e := f.watch("--", f.script("program", `echo ran >$SAID`))
			r := f.registry()
			release, err := r.BeginEnd(e.ID)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			if err := r.SetPhase(e.ID, "ending", 1); err != nil {
				t.Fatal(err)
			}
			if dead {
				release()
			}
			x.kill()
			if dead {
				f.heard("ran")
			}
			f.leave(e)
			if !dead {
				f.silent()
			}
		})
	}
}

func TestBuiltinEnd(t *testing.T) {
	const uid = 54321
	for _, c := range []struct {
		name string
		args func(f *fixture) []string
		want string
	}{
		{"no program", func(*fixture) []string { return nil }, ""},
		{"link", func(f *fixture) []string { return []string{"--", f.link("EndXSession"), "--grace", "5s"} }, " --grace 5s"},
		{"by its verb", func(f *fixture) []string { return []string{"--", f.xexit, "end", "--grace", "1s"} }, " --grace 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := startX(t)
			f := newFixture(t, x.display)
			f.as(uid)
			e := f.watch(c.args(f)...)
			// An upgrade in between: what was there at the start is run.
			newer := filepath.Join(f.dir, "newer")
			copyFile(t, "/bin/false", newer)
			if err := os.Rename(newer, filepath.Join(f.dir, "xexit-main")); err != nil {
				t.Fatal(err)
			}
			x.kill()
			want := fmt.Sprintf("end --session %s --reason server-gone%s [%s] reason=server-gone", e.ID, c.want, e.ID)
			if line := f.line(); line != want {
				t.Errorf("ran   %q\nwant %q", line, want)
			}
			f.leave(e)
			f.silent() // no record of its own
		})
	}
}

func (f *fixture) link(name string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.Symlink(f.xexit, path); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// Two watchers with one XEXIT_SESSION: the second display is a session of its
// own, whose processes the marker does not tell.
func TestInheritedID(t *testing.T) {
	outer, inner := startX(t), startX(t)
	f := newFixture(t, outer.display)
	f.env = append(f.env, "XEXIT_SESSION=1b4e28ba-2fa1-41d2-883f-0016d3cca427")
	program := f.script("program", `echo "ran $XEXIT_SESSION" >$SAID`)
	first := f.watch("--", program)
	f.env = append(f.env, "DISPLAY="+inner.display)
	if status, out := f.run("watch", "--", program); status != 0 {
		t.Fatal(out)
	}
	var second registry.Entry
	for _, l := range f.sessions() {
		if l.Display == inner.display {
			second = l.Entry
		}
	}
	if second.ID == "" || second.ID == first.ID || second.Marked {
		t.Fatalf("second: %+v", second)
	}
	inner.kill()
	if line := f.heard("ran"); line != "ran "+string(second.ID) {
		t.Error(line)
	}
	f.leave(second)
	if all := f.sessions(); len(all) != 1 || all[0].ID != first.ID {
		t.Errorf("left: %+v", all)
	}
}

// The launcher does not wait for a display that is not there yet.
func TestDisplayComesLater(t *testing.T) {
	number := fmt.Sprintf(":%d", 1000+os.Getpid()%30000) // nobody else's
	f := newFixture(t, number)
	e := f.watch("--", f.script("program", `echo ran >$SAID`))
	x := startX(t, number)
	if x.display != number {
		t.Fatalf("got display %s", x.display)
	}
	x.set(t, "DIE")
	f.heard("ran")
	f.leave(e)
}
