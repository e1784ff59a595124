package demo

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
	"xexit/internal/proc"
)

// programs is where the real programs are built, for everybody to run.
var programs string

func TestMain(m *testing.M) {
	status, err := 1, error(nil)
	if programs, err = build(); err == nil {
		// Whatever the demo lets slip becomes a child of the test.
		if err = linux.BecomeSubreaper(); err == nil {
			status = m.Run()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = os.RemoveAll(programs)
	os.Exit(status)
}

func build() (string, error) {
	dir, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	for _, name := range []string{"xexit", "xexit-main"} {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, name), "xexit/cmd/"+name)
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build %s: %w: %s", name, err, out)
		}
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			return dir, err
		}
	}
	return dir, nil
}

const unprivileged = 65534

// users are whom the demo is run as: who runs the tests, and an ordinary user
// too if that is root.
func users() map[string]int {
	users := map[string]int{"self": os.Getuid()}
	if os.Getuid() == 0 {
		users["unprivileged"] = unprivileged
	}
	return users
}

// play is one run of the demo as uid with a directory of its own for its stage.
type run struct {
	cmd    *exec.Cmd
	tmp    string
	out    bytes.Buffer // of what lines has passed, and stderr
	stderr bytes.Buffer
	lines  *bufio.Scanner
}

func begin(t *testing.T, uid int, program string) *run {
	t.Helper()
	tmp, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	if err := os.Chown(tmp, uid, -1); err != nil {
		t.Fatal(err)
	}
	r := &run{cmd: exec.Command(program, "demo"), tmp: tmp}
	r.cmd.Dir, r.cmd.Stderr = "/", &r.stderr
	// As in a session that is watched: none of it may reach the demo.
	r.cmd.Env = []string{
		"PATH=/usr/bin:/bin", "TMPDIR=" + tmp, "HOME=/nonexistent", "DISPLAY=:4711", "XEXIT_REASON=limit",
		"XEXIT_SESSION=11111111-2222-3333-4444-555555555555", "XDG_RUNTIME_DIR=/nonexistent",
	}
	r.cmd.SysProcAttr = as(uid)
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.lines = bufio.NewScanner(io.TeeReader(stdout, &r.out))
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	guard := time.AfterFunc(60*time.Second, func() { _ = r.cmd.Process.Kill() })
	t.Cleanup(func() { guard.Stop() })
	return r
}

func as(uid int) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != os.Getuid() {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), NoSetGroups: os.Getuid() != 0}
	}
	return attr
}

// until reads up to the line that holds text.
func (r *run) until(t *testing.T, text string) {
	t.Helper()
	for r.lines.Scan() {
		if strings.Contains(r.lines.Text(), text) {
			return
		}
	}
	t.Fatalf("no line with %q in:\n%s%s", text, r.out.String(), r.stderr.String())
}

// end reads the rest and returns the exit status, -1 after a signal.
func (r *run) end(t *testing.T) int {
	t.Helper()
	for r.lines.Scan() {
	}
	_ = r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

// nothing proves that no process of the demo is left and no file of it.
func (r *run) nothing(t *testing.T, but ...int) {
	t.Helper()
	if left := leftovers(t, but...); len(left) > 0 {
		t.Errorf("left behind: %v\n%s%s", left, r.out.String(), r.stderr.String())
	}
	entries, err := os.ReadDir(r.tmp)
	if err != nil || len(entries) > 0 {
		t.Errorf("files left: %v %v", entries, err)
	}
}

// leftovers are the living below the test and whoever runs the programs built
// for it, wherever he is.
func leftovers(t *testing.T, but ...int) (left []string) {
	t.Helper()
	g, err := newGuard()
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	below, _, err := g.below()
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, s := range below {
		found[s.PID] = s.Comm
	}
	err = g.fs.Pids(0, func(pid int) error {
		if exe, _, _, err := g.fs.Exe(pid); err == nil && strings.HasPrefix(exe, programs+"/") {
			found[pid] = exe
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pid, name := range found {
		if !slices.Contains(but, pid) {
			left = append(left, fmt.Sprintf("%d %s", pid, name))
		}
	}
	return left
}

// bystander is a process of uid that looks like one of the demo's.
func bystander(t *testing.T, uid int) (*exec.Cmd, proc.Stat) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "xexit-main"), RoleVerb, "ignorer")
	cmd.SysProcAttr = as(uid)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.ExtraFiles = []*os.File{write}
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(read).ReadString('\n'); err != nil || !strings.HasPrefix(line, "ignorer ") {
		t.Fatalf("bystander said %q: %v", line, err)
	}
	return cmd, stat(t, cmd.Process.Pid)
}

func stat(t *testing.T, pid int) proc.Stat {
	t.Helper()
	fs, err := proc.New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	s, err := fs.Stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestShow(t *testing.T) {
	for name, uid := range users() {
		t.Run(name, func(t *testing.T) {
			cmd, before := bystander(t, uid)
			r := begin(t, uid, filepath.Join(programs, "xexit"))
			if status := r.end(t); status != 0 {
				t.Fatalf("status %d:\n%s%s", status, r.out.String(), r.stderr.String())
			}
			t.Logf("\n%s", r.out.String())
			expectShow(t, r.out.String())
			r.nothing(t, cmd.Process.Pid)
			if after := stat(t, cmd.Process.Pid); after.ID() != before.ID() || after.Dead() || after.State == 'T' {
				t.Errorf("the bystander was %+v and is %+v", before, after)
			}
		})
	}
}

func expectShow(t *testing.T, out string) {
	t.Helper()
	size := castSize()
	for _, want := range []string{
		`0\.0 ms +the cable of A's display is pulled`,
		`server-gone`,
		`hook 10-good-bye: status 0`,
		fmt.Sprintf(`TERM to all %d`, size),
		`the grace is over, 3 left`,
		`STOP to ignorer, twin, twin`,
		`KILL to ignorer, twin, twin`,
		`(?m)^  stopped +\d+ .* TERM CONT +\d+\.\d ms$`,
		`(?m)^  ignorer +\d+ .* TERM CONT STOP KILL +\d+\.\d ms$`,
		fmt.Sprintf(`proved  A is empty: %d of %[1]d gone, verified`, size),
		`proved  hook 10-good-bye ran first: status 0, .* "good-bye, server-gone"`,
		fmt.Sprintf(`proved  B is untouched: %d of %[1]d processes`, size),
		fmt.Sprintf(`proved  B was then ended by .*: %d of %[1]d gone, verified`, size),
		`proved  nothing of the demo is left`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if rows := regexp.MustCompile(`(?m)^  [a-z-]+ +\d+ .* descent\S* +TERM( CONT)?( STOP KILL)? +[\d.]+ ms$`).FindAllString(out, -1); len(rows) != size {
		t.Errorf("%d rows in the table, want %d:\n%s", len(rows), size, out)
	}
	if strings.Contains(out, "FAILED") || strings.Contains(out, "\x1b") {
		t.Errorf("failure or colour in:\n%s", out)
	}
	lines := strings.Split(out, "\n")
	for _, line := range lines {
		if len([]rune(line)) > 100 {
			t.Errorf("wider than 100 columns: %s", line)
		}
	}
	if len(lines) > 46 {
		t.Errorf("%d lines", len(lines))
	}
}

func TestInterrupted(t *testing.T) {
	for name, uid := range users() {
		for _, moment := range []string{"Two sessions", "is pulled", "TERM to", "grace is over", "B is untouched"} {
			t.Run(name+"/"+strings.ReplaceAll(moment, " ", "-"), func(t *testing.T) {
				r := begin(t, uid, filepath.Join(programs, "xexit"))
				r.until(t, moment)
				if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
				if status := r.end(t); status != 1 {
					t.Errorf("status %d:\n%s%s", status, r.out.String(), r.stderr.String())
				}
				if !strings.Contains(r.stderr.String(), "interrupted") {
					t.Errorf("stderr: %s", r.stderr.String())
				}
				r.nothing(t)
			})
		}
	}
}

// Nobody can clean up after SIGKILL; but the displays die with the demo, and so
// xexit itself ends both sessions.
func TestKilled(t *testing.T) {
	r := begin(t, os.Getuid(), filepath.Join(programs, "xexit"))
	r.until(t, "is pulled")
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.end(t)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	guard := time.After(60 * time.Second)
	for {
		left := leftovers(t)
		if len(left) == 0 {
			return
		}
		select {
		case <-again.C:
		case <-guard:
			t.Fatalf("left behind: %v", left)
		}
	}
}

// What is not as it should be is said, and is the exit status.
func TestFailureIsTold(t *testing.T) {
	dir := t.TempDir()
	if err := os.Link(filepath.Join(programs, "xexit-main"), filepath.Join(dir, "xexit-main")); err != nil {
		t.Fatal(err)
	}
	// An xexit that makes away with the hook before the session begins.
	script := "#!/bin/sh\n[ \"$1\" = session ] && rm -f \"${3%/*}\"/hooks/*\nexec " + programs + "/xexit \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "xexit"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r := begin(t, os.Getuid(), filepath.Join(dir, "xexit-main"))
	if status := r.end(t); status != 1 || !strings.Contains(r.out.String(), "FAILED  no hook was run") {
		t.Errorf("status %d:\n%s%s", status, r.out.String(), r.stderr.String())
	}
	r.nothing(t)
}
