package reap

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

func TestNoBound(t *testing.T) {
	d := startNest(t, 1, "1", "obedient")
	l := &fixed{}
	if _, err := Run(hangGuard(t), d.fs, l, nil, longGrace); !errors.Is(err, ErrNoBound) {
		t.Errorf("error %v", err)
	}
	if l.looks > 0 {
		t.Error("it looked for whom to end")
	}
}

func TestOutsideTheBound(t *testing.T) {
	d := startNest(t, 3, "3", "obedient")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	outside := look.End[1].Ref.ID()
	asked := 0
	bound := func(ref *proc.Ref) error {
		asked++
		if ref.ID() == outside {
			return errors.New("not of this session")
		}
		return nil
	}
	rep, err := Run(hangGuard(t), d.fs, d, bound, noGrace)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Verified || len(rep.Survivors) != 1 || rep.Survivors[0].ID != outside || !strings.Contains(rep.Survivors[0].Cause, "not of this session") {
		t.Errorf("verified %v, survivors %+v", rep.Verified, rep.Survivors)
	}
	for _, out := range rep.Processes {
		if refused := out.ID == outside; refused != (out.How == HowRefused) || refused && len(out.Signals) > 0 {
			t.Errorf("%+v", out)
		}
	}
	if asked != 3 {
		t.Errorf("the bound was asked %d times about 3 processes", asked)
	}
	if living := d.living(t); len(living) != 1 || living[0].pid != outside.PID || living[0].state == "T" {
		t.Errorf("in /proc: %+v", living)
	}
}

func TestNeverClean(t *testing.T) {
	d := startNest(t, 2, "2", "obedient")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	// Births, which make it look again without a pause, are none of this test.
	files := numbersAt(100, 7)
	files["sys/kernel/pid_max"] = "32768"
	still := fakeProc(t, files)
	lookErr := errors.New("no such directory")
	for _, test := range []struct {
		name string
		err  error
	}{{"unclean", nil}, {"failing", lookErr}} {
		t.Run(test.name, func(t *testing.T) {
			l := &fixed{targets: look.End, unclean: true, err: test.err}
			rep, err := Run(hangGuard(t), still, l, anyone, Options{Grace: 50 * time.Millisecond, Force: 300 * time.Millisecond})
			if !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if rep.Verified || len(rep.Survivors) > 0 || len(rep.Processes) != 2 {
				t.Errorf("%+v", rep)
			}
			d.wantNobody(t)
			if rep.Looks > 60 {
				t.Errorf("%d looks: it must pause between them", rep.Looks)
			}
		})
	}
}

// An error that goes away is no error.
func TestLookFailsOnce(t *testing.T) {
	d := startNest(t, 1, "1", "obedient")
	l := &failsOnce{Looker: d}
	rep, err := Run(hangGuard(t), d.fs, l, anyone, longGrace)
	if err != nil {
		t.Fatal(err)
	}
	wantVerified(t, d, rep)
	if len(rep.Processes) != 1 {
		t.Errorf("%+v", rep.Processes)
	}
}

type failsOnce struct {
	Looker
	failed bool
}

func (f *failsOnce) Look(ctx context.Context) (Look, error) {
	if !f.failed {
		f.failed = true
		return Look{}, errors.New("once")
	}
	return f.Looker.Look(ctx)
}

// startAsUser starts asUser on the only process of d, and waits until it was
// told that it may not signal it. The rest of its output is its report.
func startAsUser(t *testing.T, d *descendants, grace string) (read func() Report) {
	t.Helper()
	cmd := again("as-user", strconv.Itoa(d.living(t)[0].pid), grace)
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "denied\n" {
		t.Fatal(line, err)
	}
	return func() (rep Report) {
		if err := json.NewDecoder(lines).Decode(&rep); err != nil {
			t.Error(err)
		}
		return rep
	}
}

// late finds its targets only in the look that begins when the time is over.
type late struct{ targets []Target }

func (l late) Look(ctx context.Context) (Look, error) {
	if deadline, _ := ctx.Deadline(); time.Until(deadline) > lookExtra {
		return Look{}, nil
	}
	return Look{End: l.targets}, nil
}

// Who was found last is killed too, and has the time to die.
func TestFoundLast(t *testing.T) {
	d := startNest(t, 5, "5", "ignore-term")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	rep, err := Run(hangGuard(t), d.fs, late{look.End}, anyone, Options{Force: 50 * time.Millisecond})
	if err != nil || rep.Verified || len(rep.Survivors) > 0 || len(rep.Processes) != 5 {
		t.Errorf("%+v, %v", rep, err)
	}
	d.wantNobody(t)
}

// When the time is over with the killing, one more look says whether it is done.
func TestVerifiedLate(t *testing.T) {
	d := startNest(t, 5, "5", "ignore-term")
	rep, err := Run(hangGuard(t), d.fs, d, anyone, Options{Force: time.Nanosecond})
	if err != nil || !rep.Verified || len(rep.Processes) != 5 {
		t.Errorf("%+v, %v", rep, err)
	}
	d.wantNobody(t)
}

// Who may not be signalled is named, with the reason.
func TestNotPermitted(t *testing.T) {
	needRoot(t)
	d := startNest(t, 1, "1", "obedient")
	rep := startAsUser(t, d, "50ms")()
	if rep.Verified || len(rep.Survivors) != 1 || !strings.HasPrefix(rep.Survivors[0].Cause, "EPERM") {
		t.Errorf("%+v", rep)
	}
	if len(rep.Processes) != 1 || rep.Processes[0].How != HowSurvived || len(rep.Processes[0].Signals) > 0 {
		t.Errorf("%+v", rep.Processes)
	}
	if len(d.living(t)) != 1 {
		t.Error("it is gone")
	}
}

// Who may not be signalled is waited for during the grace.
func TestNotPermittedGoesByItself(t *testing.T) {
	needRoot(t)
	d := startNest(t, 1, "1", "obedient")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	report := make(chan Report, 1)
	read := startAsUser(t, d, "60s")
	go func() { report <- read() }()
	select {
	case rep := <-report:
		t.Fatalf("it did not wait: %+v", rep)
	case <-time.After(300 * time.Millisecond):
	}
	if err := look.End[0].Ref.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rep := <-report
	if !rep.Verified || len(rep.Survivors) > 0 || len(rep.Processes) != 1 || rep.Processes[0].How != HowGone {
		t.Errorf("%+v", rep)
	}
}

// The death of one that was refused is not that of one that is waited for.
func TestRefusedDies(t *testing.T) {
	d := startNest(t, 2, "2", "ignore-term")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	outside := look.End[0].Ref
	bound := func(ref *proc.Ref) error {
		if ref == outside {
			return errors.New("not of this session")
		}
		return nil
	}
	o := noGrace
	o.Events = func(e Event) {
		if e.Signal == "TERM" {
			_ = outside.Signal(syscall.SIGKILL)
		}
	}
	rep, err := Run(hangGuard(t), d.fs, d, bound, o)
	if err != nil {
		t.Fatal(err)
	}
	wantVerified(t, d, rep)
	if rep.Processes[0].How != HowRefused || rep.Processes[1].How != HowKill {
		t.Errorf("%+v", rep.Processes)
	}
}

// What hangs in the kernel survives KILL until the deadline, and is named.
func TestUninterruptible(t *testing.T) {
	d := startFuse(t)
	rep := mustRun(t, d, Options{Grace: 50 * time.Millisecond, Force: 500 * time.Millisecond})
	if rep.Verified || len(rep.Survivors) != 1 || !strings.HasPrefix(rep.Survivors[0].Cause, "state D in ") {
		t.Errorf("%+v", rep)
	}
	if len(rep.Processes) != 1 || rep.Processes[0].How != HowSurvived || !slices.Contains(rep.Processes[0].Signals, "KILL") {
		t.Errorf("%+v", rep.Processes)
	}
	t.Log(rep.Survivors)
}

// fakeProc writes a tree of files that looks like /proc.
func fakeProc(t *testing.T, files map[string]string) *proc.FS {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := proc.New(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

func TestCause(t *testing.T) {
	const rest = " 1 7 7 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0 18446744073709551615 1 1 1 1 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 1 1 1 1 1 1 1 0\n"
	for _, test := range []struct {
		name          string
		state         string
		tracer, wchan string
		process       process
		want          string
	}{
		{"kernel", "D", "0", "rpc_wait_bit_killable", process{killed: true}, "state D in rpc_wait_bit_killable"},
		{"wchan hidden", "D", "0", "0", process{killed: true}, "state D"},
		{"traced", "t", "4121", "0", process{killed: true}, "traced by 4121, state t"},
		{"running", "R", "0", "0", process{killed: true}, "unknown: state R"},
		{"denied", "S", "0", "0", process{killed: true, denied: syscall.EPERM}, "EPERM (may not be signalled by this user)"},
		{"cut short", "S", "0", "0", process{}, "was not killed: the end was cut short"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs := fakeProc(t, map[string]string{
				"7/stat":   "7 (sh) " + test.state + rest,
				"7/status": "Name:\tsh\nState:\t" + test.state + "\nPid:\t7\nTracerPid:\t" + test.tracer + "\nUid:\t0\t0\t0\t0\n",
				"7/wchan":  test.wchan,
			})
			test.process.id.PID = 7
			if got := cause(fs, &test.process).Error(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	fs := fakeProc(t, nil)
	if got := cause(fs, &process{id: session.ProcID{PID: 7}, killed: true}).Error(); !strings.HasPrefix(got, "unknown: ") {
		t.Errorf("%q for a process that /proc does not show", got)
	}
}
