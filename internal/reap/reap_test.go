package reap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

var (
	politely  = []string{"TERM", "CONT"}
	onTTY     = []string{"TERM", "HUP", "CONT"}
	forcibly  = []string{"TERM", "CONT", "STOP", "KILL"}
	longGrace = Options{Grace: hang, Force: hang}
	noGrace   = Options{Grace: 100 * time.Millisecond, Force: hang}
)

func mustRun(t testing.TB, d *descendants, o Options) Report {
	t.Helper()
	rep, err := Run(hangGuard(t), d.fs, d, anyone, o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func wantVerified(t testing.TB, d *descendants, rep Report) {
	t.Helper()
	if !rep.Verified || len(rep.Survivors) > 0 {
		t.Errorf("verified %v, survivors %v", rep.Verified, rep.Survivors)
	}
	d.wantNobody(t)
}

// quick reports whether the process was dead and reaped before CONT could be
// sent, which nothing stopped it from being.
func quick(out Outcome) bool {
	return out.How == HowTerm && slices.Equal(out.Signals, politely[:1])
}

func TestOneKindEach(t *testing.T) {
	for _, test := range []struct {
		mode    string
		options Options
		how     How
		signals []string
	}{
		{"obedient", longGrace, HowTerm, politely},
		{"ignore-term", noGrace, HowKill, forcibly},
		{"ignore-both", noGrace, HowKill, forcibly},
		{"restopping", longGrace, HowTerm, politely},
	} {
		t.Run(test.mode, func(t *testing.T) {
			d := startNest(t, 3, "3", test.mode)
			rep := mustRun(t, d, test.options)
			wantVerified(t, d, rep)
			if len(rep.Processes) != 3 {
				t.Fatalf("%d processes in the report: %+v", len(rep.Processes), rep.Processes)
			}
			for _, out := range rep.Processes {
				if out.How != test.how || !slices.Equal(out.Signals, test.signals) && !quick(out) || out.After <= 0 || out.After > rep.Took {
					t.Errorf("%+v, want %s after %v", out, test.how, test.signals)
				}
			}
		})
	}
}

func TestStopped(t *testing.T) {
	d := startNest(t, 2, "2", "obedient")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range look.End {
		if err := target.Ref.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	rep := mustRun(t, d, longGrace)
	wantVerified(t, d, rep)
	for _, out := range rep.Processes {
		if out.How != HowTerm {
			t.Errorf("%+v, want it to wake up and go", out)
		}
	}
}

// The zombie child counts as gone while its parent, who never reaps it, lives.
func TestZombie(t *testing.T) {
	d := startNest(t, 2, "1", "never-reaps")
	look, err := d.Look(hangGuard(t))
	if err != nil || len(look.End) != 2 {
		t.Fatal(look, err)
	}
	parent, child := look.End[0].Ref, look.End[1].Ref
	o := longGrace
	state := ""
	o.Events = func(e Event) {
		if e.Kind == KindGone && e.ID == child.ID() {
			stat, _ := readStat(e.ID.PID)
			state = stat.state
			_ = parent.Signal(syscall.SIGKILL) // it has done its part
		}
	}
	rep := mustRun(t, d, o)
	wantVerified(t, d, rep)
	if state != "Z" {
		t.Errorf("state %q when it was counted as gone", state)
	}
	if len(rep.Processes) != 2 || rep.Processes[1].How != HowTerm {
		t.Errorf("%+v", rep.Processes)
	}
}

// Nobody new may be invented for a dead process that a look still lists.
func TestZombieListed(t *testing.T) {
	d := startNest(t, 2, "1", "never-reaps")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	child := look.End[1]
	if err := child.Ref.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w, err := newWatch(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.add(child.Ref.FD(), 0); err != nil {
		t.Fatal(err)
	}
	for dead := 0; dead == 0 && hangGuard(t).Err() == nil; {
		keys, err := w.wait(hang, nil)
		if err != nil {
			t.Fatal(err)
		}
		dead = len(keys)
	}
	if stat, err := readStat(child.Ref.ID().PID); err != nil || stat.state != "Z" {
		t.Fatalf("%+v %v, want a zombie", stat, err)
	}
	rep, err := Run(hangGuard(t), d.fs, &fixed{targets: []Target{child}, always: true}, anyone, longGrace)
	if err != nil || !rep.Verified || len(rep.Processes) != 1 || rep.Processes[0].How != HowGone || len(rep.Processes[0].Signals) > 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestTwins(t *testing.T) {
	for _, mode := range []string{"twin", "twin-ignore"} {
		t.Run(mode, func(t *testing.T) {
			d := startNest(t, 2, "1", mode)
			if n := len(d.living(t)); n != 2 {
				t.Fatalf("%d twins", n)
			}
			wantVerified(t, d, mustRun(t, d, noGrace))
		})
	}
}

// A child that is born of the TERM to its parent gets its own.
func TestNewborn(t *testing.T) {
	d := startNest(t, 1, "1", "heir")
	rep := mustRun(t, d, longGrace)
	wantVerified(t, d, rep)
	if len(rep.Processes) < 2 {
		t.Fatalf("%+v, want the parent and the child", rep.Processes)
	}
	for _, out := range rep.Processes {
		if out.How != HowTerm || !slices.Equal(out.Signals, politely) && !quick(out) {
			t.Errorf("%+v, want it to have been asked", out)
		}
	}
}

func TestInteractiveShell(t *testing.T) {
	master, slave := openPTY(t)
	cmd := exec.Command("/bin/sh", "-i")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = append(os.Environ(), "PS1=prompt ", "ENV=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	prompted := make(chan error, 1)
	go func() { // it ignores TERM once it has prompted
		buf, seen := make([]byte, 256), ""
		for !strings.Contains(seen, "prompt ") {
			n, err := master.Read(buf)
			if err != nil {
				prompted <- err
				return
			}
			seen += string(buf[:n])
		}
		close(prompted)
	}()
	select {
	case err := <-prompted:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(hang):
		t.Fatal("no prompt")
	}
	d := &descendants{
		fs: openProc(t), root: os.Getpid(), refs: map[session.ProcID]*proc.Ref{},
		only: func(stat procStat) bool { return stat.pid == cmd.Process.Pid },
	}
	rep := mustRun(t, d, longGrace)
	if !rep.Verified || len(rep.Processes) != 1 || rep.Processes[0].How != HowTerm || !slices.Equal(rep.Processes[0].Signals, onTTY) {
		t.Errorf("%+v", rep)
	}
	if stat, err := readStat(cmd.Process.Pid); err != nil || stat.state != "Z" {
		t.Errorf("%+v %v, want a zombie of ours", stat, err)
	}
}

func TestForkChains(t *testing.T) {
	needRoot(t)
	d := startNest(t, 8, fmt.Sprintf("uid=%d", testUID), "8", "chain")
	bound := func(ref *proc.Ref) error {
		uid, err := d.fs.UID(ref.ID().PID)
		if err == nil && uid != testUID {
			err = fmt.Errorf("uid %d", uid)
		}
		if errors.Is(err, proc.ErrGone) {
			return nil
		}
		return err
	}
	rep, err := Run(hangGuard(t), d.fs, d, bound, noGrace)
	if err != nil {
		t.Fatal(err)
	}
	wantVerified(t, d, rep)
	killed := 0
	for _, out := range rep.Processes {
		if out.How == HowKill {
			killed++
		}
	}
	if killed < 8 { // at least the last link of each chain
		t.Errorf("%d killed of %d: the chains ended by themselves", killed, len(rep.Processes))
	}
	t.Logf("%d processes, %d looks, %v", len(rep.Processes), rep.Looks, rep.Took)
}

// fixed is a Looker whose answer is given.
type fixed struct {
	targets []Target
	always  bool // list them in each look, not only in the first
	unclean bool
	err     error
	looks   int
}

func (f *fixed) Look(context.Context) (Look, error) {
	f.looks++
	look := Look{Clean: !f.unclean && f.looks > 1}
	if f.looks == 1 || f.always {
		look.End = f.targets
	}
	return look, f.err
}
