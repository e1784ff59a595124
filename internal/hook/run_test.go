package hook

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
)

// plainEnv is an environment to find programs by; the rest is for this test binary
// under the race detector, which otherwise takes a second to exit.
var plainEnv = []string{"PATH=/usr/bin:/bin", "GORACE=atexit_sleep_ms=0"}

// TestStatus has what a hook may end with.
func TestStatus(t *testing.T) {
	ways(t, func(t *testing.T, run runHook) {
		clean(t, run(t, script(t, "exit 1\n"), plainEnv, Options{}), 1)
		clean(t, run(t, script(t, "true\n"), plainEnv, Options{}), 0)
		clean(t, run(t, fragment(t, "exit 3\n"), plainEnv, Options{}), 3)
		clean(t, run(t, fragment(t, "false\n"), plainEnv, Options{}), 1)
		clean(t, run(t, write(t, filepath.Join(hookDir(t), "hook"), "", 0o755), plainEnv, Options{}), 0)
		r := run(t, script(t, "kill -TERM $$\n"), plainEnv, Options{})
		if r.Signal != syscall.SIGTERM || r.Status != -1 || r.TimedOut {
			t.Errorf("%+v, want the signal that it sent itself", r)
		}
	})
}

// TestOneAfterTheOther: what one hook does, exit included, is no concern of
// the next.
func TestOneAfterTheOther(t *testing.T) {
	dir := hookDir(t)
	write(t, filepath.Join(dir, "10-one.sh"), "echo one; cd /tmp; PATH=; X=1; set -e; exit 1\n", 0o644)
	write(t, filepath.Join(dir, "20-two"), "#!/bin/sh\necho two; kill -9 $$\n", 0o755)
	write(t, filepath.Join(dir, "30-three"), "echo three $X; pwd\n", 0o644)
	specs, refusals, err := List(dir)
	if err != nil || len(refusals) > 0 {
		t.Fatal(err, refusals)
	}
	var said []byte
	for _, s := range specs {
		said = append(said, Run(t.Context(), s, plainEnv, Options{Shield: true}).Output...)
	}
	if want := "one\ntwo\nthree\n/\n"; string(said) != want {
		t.Errorf("%q, want %q", said, want)
	}
}

// TestSurroundings: environment, directory, input, session, descriptors.
func TestSurroundings(t *testing.T) {
	// A hook that is no script shows the environment as it was given.
	env := filepath.Join(hookDir(t), "hook")
	must(t, os.Symlink("/usr/bin/env", env))
	// The descriptors that a child of this test has anyway.
	listed, err := exec.Command("/bin/ls", "/proc/self/fd").Output()
	must(t, err)
	descriptors := strings.Split(string(listed), "\n")
	ways(t, func(t *testing.T, run runHook) {
		given := []string{"B=2", "A=1", "XEXIT_SESSION=1b4e28ba-2fa1-41d2-883f-0016d3cca427", "EMPTY=", "BYTES=\x01 = é"}
		r := run(t, env, given, Options{})
		if want := strings.Join(given, "\n") + "\n"; string(r.Output) != want {
			t.Errorf("environment %q, want %q", r.Output, want)
		}
		if r := run(t, env, nil, Options{}); len(r.Output) > 0 {
			t.Errorf("environment %q, want none", r.Output)
		}

		hook := script(t, `pwd; readlink /proc/$$/fd/0; cut -d' ' -f1,5,6 /proc/$$/stat; echo $$ $$ $$; echo "$0"; echo $#
			exec ls /proc/self/fd`)
		lines := strings.Split(string(run(t, hook, plainEnv, Options{}).Output), "\n")
		if len(lines) < 6 {
			t.Fatalf("%q", lines)
		}
		lines[3] = lines[2] // PID, group and session are one
		want := append([]string{"/", "/dev/null", lines[2], lines[2], hook, "0"}, descriptors...)
		if !slices.Equal(lines, want) {
			t.Errorf("%q\nwant %q", lines, want)
		}
		ids := strings.Fields(lines[2])
		if len(ids) != 3 || ids[0] != ids[1] || ids[0] != ids[2] {
			t.Errorf("pid, group and session %q, want one number", ids)
		}
	})
}

// TestFragment: sourced by /bin/sh, whatever its name and first line say.
func TestFragment(t *testing.T) {
	odd := filepath.Join(hookDir(t), "10 $(touch x) 'a\"b;.sh")
	write(t, odd, "#!/nonexistent\necho \"$LTSP_CLIENT_HOSTNAME $0 $-\"; return 7\n", 0o644)
	ways(t, func(t *testing.T, run runHook) {
		r := run(t, odd, []string{"LTSP_CLIENT_HOSTNAME=ltsp101"}, Options{})
		clean(t, r, 7)
		if got := string(r.Output); !strings.HasPrefix(got, "ltsp101 xexit ") {
			t.Errorf("%q", got)
		}
	})
}

// TestExecutable has the formats: a script without a shebang is /bin/sh's, a
// program for another machine is nobody's.
func TestExecutable(t *testing.T) {
	make := func(text string) string { return write(t, filepath.Join(hookDir(t), "hook"), text, 0o755) }
	bare := make("echo \"bare $0\"; exit 4\n")
	perl := make("#!/usr/bin/perl\nprint 'perl'; exit 5;\n")
	missing := make("#!/nonexistent/interpreter\n")
	elf := make("\x7fELF" + strings.Repeat("\x00", 100))
	link := filepath.Join(hookDir(t), "20-link")
	must(t, os.Symlink(bare, link))
	ways(t, func(t *testing.T, run runHook) {
		r := run(t, bare, plainEnv, Options{})
		clean(t, r, 4)
		if want := "bare " + bare + "\n"; string(r.Output) != want {
			t.Errorf("%q, want %q", r.Output, want)
		}
		r = run(t, perl, plainEnv, Options{})
		clean(t, r, 5)
		if string(r.Output) != "perl" {
			t.Errorf("%q", r.Output)
		}
		r = run(t, link, plainEnv, Options{})
		clean(t, r, 4)
		if r.Name != "20-link" {
			t.Errorf("%+v", r)
		}
		for path, want := range map[string]string{missing: "no such file", elf: "exec format error"} {
			if r := run(t, path, nil, Options{}); !strings.Contains(r.Failed, want) || len(r.Output) > 0 {
				t.Errorf("%+v %s, want failed with %q", r, r.Output, want)
			}
		}
	})
}

// TestDeadline: TERM to the group, KILL after the grace, nobody of the group
// left.
func TestDeadline(t *testing.T) {
	// The TERM of the deadline may interrupt the call while the shield looks at it.
	const stop = "kill -STOP $$ 2>/dev/null"
	for _, tc := range []struct {
		name, prepare, hang string
		signal              syscall.Signal
		status              int
		output              string
	}{
		{"hangs", "", "exec sleep 100", syscall.SIGTERM, -1, ""},
		{"hears", "trap 'echo heard; exit 9' TERM", "sleep 100 & wait", 0, 9, "heard\n"},
		{"ignores", "trap '' TERM", "sleep 100; sleep 100", syscall.SIGKILL, -1, ""},
		{"stopped", "trap 'echo heard; exit 9' TERM", stop, 0, 9, "heard\n"},
		{"child ignores", "", "(trap '' TERM; sleep 100; :) & wait", syscall.SIGTERM, -1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ways(t, func(t *testing.T, run runHook) {
				r, pids := runHanging(t, run, tc.prepare, tc.hang, tc.signal)
				if !r.TimedOut || r.Signal != tc.signal || r.Status != tc.status || string(r.Output) != tc.output || len(r.Survived) > 0 || r.Failed != "" {
					t.Errorf("%+v %q", r, r.Output)
				}
				for _, pid := range pids {
					if comm, alive := livesStill(pid); alive {
						t.Errorf("%s (%s) lives", pid, comm) // for 100 s at most
					}
				}
			})
		})
	}
}

// runHanging runs a hook that has two children in its group, one of which
// ignores TERM, prepares itself and then hangs. It returns the numbers of the
// three. If the deadline came before the hook hung, or KILL before it could do
// what it does at TERM, on a busy machine, the run says nothing and is repeated
// with more time.
func runHanging(t *testing.T, run runHook, prepare, hanging string, signal syscall.Signal) (Result, []string) {
	t.Helper()
	for deadline := 200 * time.Millisecond; ; deadline *= 3 {
		told := filepath.Join(hookDir(t), "told")
		must(t, os.WriteFile(told, nil, 0o600))
		must(t, os.Chmod(told, 0o666))
		hook := script(t, fmt.Sprintf(`exec 3>>%s
			sleep 101 & echo $! >&3
			(trap '' TERM; echo - >&3; exec sleep 102) & echo $! >&3
			%s
			echo $$ >&3
			exec 3>&-
			%s`, told, prepare, hanging))
		r := run(t, hook, plainEnv, Options{Deadline: deadline, Grace: deadline})
		text, err := os.ReadFile(told)
		must(t, err)
		last := deadline > hang/4
		early := r.Signal == syscall.SIGKILL && signal != syscall.SIGKILL
		if words := strings.Fields(string(text)); len(words) == 4 && (!early || last) {
			if r.Unshielded != "" {
				t.Errorf("unshielded: %s", r.Unshielded)
			}
			return r, slices.DeleteFunc(words, func(w string) bool { return w == "-" })
		}
		if last {
			t.Fatalf("the hook told %q in %v; %+v", text, deadline, r)
		}
	}
}

// livesStill reports whether a process that the hook started is alive.
func livesStill(pid string) (comm string, alive bool) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", false
	}
	comm, state, _, ok := parseStat(stat)
	return comm, ok && state != 'Z' && state != 'X'
}

// TestLeft: what a hook leaves in its group is ended and named, with its exit
// kept; what left the group is not Run's, and cannot hold it up.
func TestLeft(t *testing.T) {
	ways(t, func(t *testing.T, run runHook) {
		o := Options{Grace: 200 * time.Millisecond, Deadline: hang / 2}
		r := run(t, script(t, "sleep 100 & echo $!; exit 2\n"), plainEnv, o)
		if r.Status != 2 || len(r.Left) != 1 || len(r.Survived) > 0 || r.TimedOut {
			t.Errorf("%+v", r)
		}
		ended(t, number(t, r))

		// Ignores TERM, has a child, and both hold the pipe.
		r = run(t, script(t, "(trap '' TERM; sleep 100; sleep 100) & echo $!; exit 2\n"), plainEnv, o)
		if r.Status != 2 || len(r.Left) == 0 || len(r.Survived) > 0 {
			t.Errorf("%+v", r)
		}
		ended(t, number(t, r))

		// A dead child that nobody waits for is nothing left.
		clean(t, run(t, script(t, "true & exec sleep 0.1\n"), plainEnv, o), 0)

		fifo := filepath.Join(hookDir(t), "fifo")
		must(t, syscall.Mkfifo(fifo, 0o666))
		must(t, os.Chmod(fifo, 0o666))
		// It tells by the fifo that it has left the group, so that it is not ended as one of it.
		r = run(t, script(t, fmt.Sprintf("setsid sh -c 'echo $$ >%s; exec sleep 100' & read pid <%[1]s; echo $pid\n", fifo)), plainEnv, o)
		clean(t, r, 0)
		pid := number(t, r)
		if _, alive := livesStill(fmt.Sprint(pid)); !alive {
			t.Error("what left the group was ended")
		}
		endPrivate(pid, uidOf(pid))
		ended(t, pid)
	})
}

// TestOutput: both streams in order, capped, the rest counted and the hook not
// blocked by it.
func TestOutput(t *testing.T) {
	ways(t, func(t *testing.T, run runHook) {
		r := run(t, script(t, "echo out; echo err >&2; printf '\\033[2Jx'\n"), plainEnv, Options{})
		clean(t, r, 0)
		if string(r.Output) != "out\nerr\n\x1b[2Jx" || r.Truncated || r.Dropped != 0 {
			t.Errorf("%q %+v", r.Output, r)
		}
		const size = 3 << 20
		flood := script(t, fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x\n", size))
		for limit, kept := range map[int]int{0: DefaultOutputCap, 10: 10, -1: 0, size: size, size + 1: size} {
			r := run(t, flood, plainEnv, Options{OutputCap: limit})
			clean(t, r, 0)
			if len(r.Output) != kept || r.Dropped != int64(size-kept) || r.Truncated != (kept < size) {
				t.Errorf("cap %d: kept %d, dropped %d, truncated %v", limit, len(r.Output), r.Dropped, r.Truncated)
			}
			if len(bytes.Trim(r.Output, "x")) > 0 {
				t.Error("what was kept is not what was written")
			}
		}
		// What is written last is read although the reader of it is gone at once.
		r = run(t, script(t, "exec head -c 60000 /dev/zero\n"), plainEnv, Options{})
		clean(t, r, 0)
		if len(r.Output) != 60000 {
			t.Errorf("%d bytes", len(r.Output))
		}
	})
}

// TestOutputOfLeftover: a process that left the group, holds the pipe and never
// stops writing does not hold Run up.
func TestOutputOfLeftover(t *testing.T) {
	fifo := filepath.Join(hookDir(t), "fifo")
	must(t, syscall.Mkfifo(fifo, 0o666))
	hook := script(t, fmt.Sprintf("setsid sh -c 'trap \"\" PIPE; echo $$ >%s; exec yes' & read pid <%[1]s; echo $pid\n", fifo))
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	r := Run(ctx, Spec{Path: hook}, plainEnv, Options{OutputCap: 64})
	if r.Status != 0 || r.Failed != "" || len(r.Left) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestDrain: reading what never ends, and what is empty, ends.
func TestDrain(t *testing.T) {
	zero, err := os.Open("/dev/zero")
	must(t, err)
	defer func() { _ = zero.Close() }()
	c := capture{limit: 5}
	c.drain(int(zero.Fd()))
	if len(c.kept) != 5 || c.dropped != maxDrain-5 {
		t.Errorf("kept %d, dropped %d", len(c.kept), c.dropped)
	}
	read, write, err := linux.Pipe()
	must(t, err)
	defer func() { _, _ = syscall.Close(read), syscall.Close(write) }()
	c.drain(read)
}

// TestContext: a cancelled context is a deadline at once.
func TestContext(t *testing.T) {
	fifo := filepath.Join(hookDir(t), "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, _ = os.ReadFile(fifo) // the hook has begun
		cancel()
	}()
	r := Run(ctx, Spec{Path: script(t, fmt.Sprintf("echo >%s; exec sleep 100\n", fifo))}, plainEnv, Options{Shield: true})
	if r.Signal != syscall.SIGTERM || r.TimedOut || !strings.Contains(r.Failed, "context canceled") {
		t.Errorf("%+v", r)
	}
	r = Run(ctx, Spec{Path: script(t, "echo ran")}, plainEnv, Options{})
	if !strings.Contains(r.Failed, "not started") || len(r.Output) > 0 || r.Status != -1 {
		t.Errorf("%+v", r)
	}
}

// TestNothingStays: neither descriptors nor dead children are left behind.
func TestNothingStays(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	hooks := []string{script(t, "sleep 100 & exit 1\n"), fragment(t, ":"), script(t, "exec sleep 100"), script(t, "kill -0 1; echo x")}
	var before int
	for round := range 5 {
		if round == 1 { // the first may open what the runtime keeps
			before = count()
		}
		for i, hook := range hooks {
			Run(t.Context(), Spec{Path: hook}, plainEnv, Options{Shield: i%2 == round%2, Deadline: 500 * time.Millisecond})
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("an unreaped child: %d %v", pid, err)
	}
}

func TestParseStat(t *testing.T) {
	for _, tc := range []struct {
		text, comm string
		state      byte
		group      int
		ok         bool
	}{
		{"12 (sh) S 1 12 12 0 -1", "sh", 'S', 12, true},
		{"12 (a) R 1 (b)) Z 3 44 5 0", "a) R 1 (b)", 'Z', 44, true},
		{"12 (x\ny) T 1 0 0", "x\ny", 'T', 0, true},
		{"12 (sh) S 1", "sh", 'S', 0, false},
		{"12 )sh( S 1 2 3", "", 0, 0, false},
		{"12 (sh) SS 1 2 3", "", 0, 0, false},
		{"", "", 0, 0, false},
	} {
		comm, state, group, ok := parseStat([]byte(tc.text))
		if ok != tc.ok || ok && (comm != tc.comm || state != tc.state || group != tc.group) {
			t.Errorf("%q: %q %c %d %v", tc.text, comm, state, group, ok)
		}
	}
}

// BenchmarkRun is what a hook that does nothing costs.
func BenchmarkRun(b *testing.B) {
	dir := b.TempDir()
	hook := filepath.Join(dir, "hook")
	if err := os.WriteFile(hook, []byte(":\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	for name, shield := range map[string]bool{"plain": false, "shielded": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if r := Run(b.Context(), Spec{Path: hook}, plainEnv, Options{Shield: shield}); r.Status != 0 {
					b.Fatalf("%+v", r)
				}
			}
		})
	}
}
