package watcher_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/session"
	"xexit/internal/watcher"
)

func TestSessionStatus(t *testing.T) {
	for _, c := range []struct {
		script string
		want   int
	}{
		{"exit 0", 0},
		{"exit 7", 7},
		{"kill -KILL $$", 128 + 9},
		{"kill -TERM $$", 128 + 15},
	} {
		f := newFixture(t, "")
		status, out := f.run("session", "--", "sh", "-c", c.script)
		if status != c.want || out != "" {
			t.Errorf("%s: status %d, %q; want %d", c.script, status, out, c.want)
		}
		if line := f.line(); !strings.HasPrefix(line, "end --session ") || !strings.Contains(line, "--reason leader-exit") {
			t.Errorf("%s: ran %q", c.script, line)
		}
		if all := f.sessions(); len(all) != 0 {
			t.Errorf("still registered: %+v", all)
		}
	}
}

// What CMD sees, and what is known of the session while it runs.
func TestSessionEntry(t *testing.T) {
	f := newFixture(t, "")
	f.env = append(f.env, "XEXIT_SESSION=1b4e28ba-2fa1-41d2-883f-0016d3cca427", "XDG_SESSION_ID=3", "SITE=lab")
	hold, e := f.startSession("--marker", "SITE", "--marker", "ABSENT", "--", "sh", "-c",
		`grep -z XEXIT_SESSION= /proc/$$/environ | tr '\0' '\n' >$SAID; echo "parent $PPID" >$SAID; exec cat`)
	if line := f.line(); line != "XEXIT_SESSION="+string(e.ID) {
		t.Errorf("CMD has %q, registered is %s", line, e.ID)
	}
	if line, want := f.line(), fmt.Sprintf("parent %d", e.Subreaper.PID); line != want {
		t.Errorf("%s, want %s", line, want)
	}
	if e.ID == "1b4e28ba-2fa1-41d2-883f-0016d3cca427" || !e.Marked || e.OwnsLogin || e.Display != "" ||
		e.Watcher != e.Subreaper || fmt.Sprint(e.Markers) != "[{SITE lab}]" {
		t.Errorf("registered %+v", e)
	}
	hold()
}

// startSession starts a session whose CMD ends when its standard input does,
// and waits until CMD is registered as its leader.
func (f *fixture) startSession(args ...string) (end func() int, e registry.Entry) {
	f.t.Helper()
	cmd := f.command(append([]string{"session"}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = cmd.Process.Kill() })
	// It is registered before CMD starts, and CMD speaks first.
	f.guard()
	if _, err := f.said.Peek(1); err != nil {
		f.t.Fatal(err)
	}
	all := f.sessions()
	if len(all) != 1 || !all[0].Live {
		f.t.Fatalf("registered: %+v", all)
	}
	return func() int {
		_ = stdin.Close()
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			f.t.Log(lines.Text())
		}
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode()
	}, all[0].Entry
}

// Orphans, whatever they did to get away, come to the subreaper, which
// collects those that end.
func TestSessionAdopts(t *testing.T) {
	f := newFixture(t, "")
	end, e := f.startSession("--", "sh", "-c", `
		mkfifo "$SAID.hold"
		( env -i setsid sh -c 'echo escaped $$ >"$0"; exec cat "$0.hold"' "$SAID" </dev/null >/dev/null 2>&1 & )
		( sh -c 'echo gone $$ >"$SAID"; exit 3' & )
		cat; echo over >"$SAID.hold"`)
	pids := make(map[string]int)
	for range 2 {
		var who string
		var pid int
		if _, err := fmt.Sscan(f.line(), &who, &pid); err != nil {
			t.Fatal(err)
		}
		pids[who] = pid
	}
	escaped, gone := pids["escaped"], pids["gone"]
	if got := parent(t, escaped); got != e.Subreaper.PID {
		t.Errorf("the daemon's parent is %d, want %d", got, e.Subreaper.PID)
	}
	ref, err := linux.OpenPidFD(gone)
	if err == nil {
		awaitExit(t, ref)
		_ = ref.Close()
	}
	if status := end(); status != 0 {
		t.Errorf("status %d", status)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", gone)); err == nil {
		t.Error("an orphan was not collected")
	}
}

func TestSessionForwards(t *testing.T) {
	f := newFixture(t, "")
	end, e := f.startSession("--", "sh", "-c", `
		trap 'echo USR1 >$SAID' USR1; trap 'echo HUP >$SAID' HUP; trap 'echo TERM >$SAID; exit 5' TERM
		echo ready >$SAID
		while :; do read line && exit 9; done`)
	f.line()
	for _, c := range []struct {
		sig  syscall.Signal
		want string
	}{{syscall.SIGUSR1, "USR1"}, {syscall.SIGHUP, "HUP"}, {syscall.SIGTERM, "TERM"}} {
		f.signal(e, syscall.SIGINT) // the terminal's business: does nothing here
		f.signal(e, c.sig)
		if line := f.line(); line != c.want {
			t.Errorf("CMD got %q, want %s", line, c.want)
		}
	}
	if status := end(); status != 5 {
		t.Errorf("status %d", status)
	}
}

func TestSessionDisplay(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    func(t *testing.T, x *xserver)
		reason session.Reason
	}{
		{"server gone", func(_ *testing.T, x *xserver) { x.kill() }, session.ReasonServerGone},
		{"DIE", func(t *testing.T, x *xserver) { x.set(t, "DIE") }, session.ReasonRequested},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := startX(t)
			f := newFixture(t, x.display)
			// The fake end ends nobody; CMD leaves as the real one would make it.
			end, e := f.startSession("--", "sh", "-c", `echo ready >$SAID; cat; exit 4`)
			f.line()
			if e.Display != x.display {
				t.Errorf("display %q", e.Display)
			}
			c.end(t, x)
			want := fmt.Sprintf("end --session %s --reason %s ", e.ID, c.reason)
			if line := f.line(); !strings.HasPrefix(line, want) {
				t.Errorf("ran %q, want %q", line, want)
			}
			end()
		})
	}
}

// A display that another watcher has is watched all the same.
func TestSessionOnAWatchedDisplay(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	outer := f.watch("--", f.script("program", `exit 0`))
	cmd := f.command("session", "--", "sh", "-c", "echo ready >$SAID; cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.line()
	for _, l := range f.sessions() {
		if l.ID != outer.ID && l.Display != "" {
			t.Errorf("two sessions claim %s", l.Display)
		}
	}
	x.kill()
	f.heard("end --session")
	_ = stdin.Close()
	_ = cmd.Wait()
}

// Somebody else ends the session: it is not ended again, and the subreaper
// stays until he has done.
func TestSessionEndedByAnother(t *testing.T) {
	f := newFixture(t, "")
	end, e := f.startSession("--", "sh", "-c", `echo ready >$SAID; cat; echo left >$SAID; exit 6`)
	f.line()
	r := f.registry()
	release, err := r.BeginEnd(e.ID)
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan int, 1)
	go func() { status <- end() }()
	if line := f.line(); line != "left" {
		t.Error(line)
	}
	if err := r.SetPhase(e.ID, session.PhaseEnded, 1); err != nil {
		t.Error(err)
	}
	release()
	if got := <-status; got != 6 {
		t.Errorf("status %d", got)
	}
	f.silent()
}

func TestSessionFailingEnd(t *testing.T) {
	f := newFixture(t, "")
	f.env = append(f.env, "FAKE_MAIN_FAILS=end")
	if status, _ := f.run("session", "--", "sh", "-c", "exit 2"); status != 2 {
		t.Errorf("status %d: CMD's counts", status)
	}
}

// An upgrade in between, or a broken one.
func TestSessionOutlivesItsProgram(t *testing.T) {
	f := newFixture(t, "")
	mainPath := filepath.Join(filepath.Dir(f.xexit), watcher.MainName)
	if status, out := f.run("session", "--", "rm", mainPath); status != 0 {
		t.Fatalf("status %d, %q", status, out)
	}
	if call := f.line(); !strings.HasPrefix(call, "end --session ") {
		t.Errorf("the session was not ended: %q", call)
	}
}

func TestSessionRefusals(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "no command"},
		{[]string{"--"}, "no command"},
		{[]string{"--", "/nowhere/cmd"}, "there is no such file"},
		{[]string{"--foreground", "--", "true"}, "unknown flag"},
		{[]string{"--marker", "XEXIT_SESSION=x", "--", "true"}, "unique marker"},
	} {
		f := newFixture(t, "")
		status, out := f.run(append([]string{"session"}, c.args...)...)
		if status != 2 || !strings.Contains(out, c.want) {
			t.Errorf("%v: status %d, %q", c.args, status, out)
		}
	}
}

// nohup: what was ignored before stays ignored, also for CMD.
func TestSessionUnderNohup(t *testing.T) {
	f := newFixture(t, "")
	cmd := exec.Command("sh", "-c", `trap '' HUP; exec "$0" session -- sh -c 'grep SigIgn /proc/$$/status >$SAID'`, f.xexit)
	cmd.Env, cmd.Dir = f.env, f.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var mask uint64
	line := f.line()
	_, err := fmt.Sscanf(line, "SigIgn:\t%x", &mask)
	ignored := func(sig syscall.Signal) bool { return mask&(1<<(sig-1)) != 0 }
	// Whoever runs this test may have signals of his own ignored (PIPE, mostly).
	if err != nil || !ignored(syscall.SIGHUP) || ignored(syscall.SIGTERM) || ignored(syscall.SIGINT) || ignored(syscall.SIGCHLD) {
		t.Errorf("%q: %v", line, err)
	}
}

func parent(t *testing.T, pid int) (ppid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var state string
	rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
	if _, err := fmt.Sscan(rest, &state, &ppid); err != nil {
		t.Fatal(err)
	}
	return ppid
}
