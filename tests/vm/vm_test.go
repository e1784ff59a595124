package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"xexit/tests/machine"
	"xexit/tests/vm/guest"
)

// lab is the machine for the checks.
type lab struct {
	t *testing.T
	*Machine
}

// check is one thing that a machine is to show.
type check struct {
	name string
	run  func(*lab)
}

// on is one boot and the checks: in this order, each beginning with displays,
// sessions and logins of its own. units are packages whose unit tests are to be
// there.
func on(t *testing.T, kernelDir string, units map[string]string, checks []check) {
	if why := Needs(kernelDir); why != "" {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	// Not below /tmp: what is made is big.
	top, err := os.MkdirTemp("/var/tmp", "xexit-vm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	staged := stage(t, top)
	for name := range units {
		stageUnits(t, staged, name)
	}
	began := time.Now()
	m, err := Boot(kernelDir, staged, top)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(m.Console())
		}
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	l := &lab{t, m}
	t.Logf("kernel %s, up after %v", l.release(), time.Since(began).Round(time.Second/10))
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(&lab{t, m}) })
	}
}

func TestEmulated(t *testing.T) {
	dir := KernelDir
	if other := os.Getenv("XEXIT_TEST_KERNEL"); other != "" {
		dir = other
	}
	on(t, dir, nil, []check{
		{"kernel", (*lab).checkKernel},
		{"demo", (*lab).checkDemo},
		{"classic", (*lab).checkClassic},
		{"groups", (*lab).checkGroups},
		{"suspend", (*lab).checkSuspend},
		{"xorg", (*lab).checkXorg},
	})
}

// TestOldest is the oldest kernel that xexit is for.
func TestOldest(t *testing.T) {
	on(t, OldKernelDir, edge(), []check{
		{"kernel", (*lab).checkOldest},
		{"units", (*lab).checkUnits},
		{"demo", (*lab).checkDemo},
		{"classic", (*lab).checkClassic},
		{"groups", (*lab).checkGroups},
	})
}

// stage installs xexit and the test programs into a directory.
func stage(t *testing.T, top string) string {
	t.Helper()
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "stage")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := machine.Stage(repository, dir); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir+filepath.Dir(machine.Program)+"/", "./cmd/vminit")
	build.Dir = filepath.Join(repository, "tests")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build vminit: %v\n%s", err, out)
	}
	return dir
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// run runs a program to its end.
func (l *lab) run(user string, argv ...string) guest.Result {
	l.t.Helper()
	var r guest.Result
	l.must(l.Ask("Run", guest.Command{Argv: argv, User: user}, &r))
	return r
}

// done is run, and a demand that it succeeds.
func (l *lab) done(user string, argv ...string) string {
	l.t.Helper()
	r := l.run(user, argv...)
	if r.Status != 0 {
		l.t.Fatalf("%s: exit status %d\n%s", strings.Join(argv, " "), r.Status, r.Output)
	}
	return r.Output
}

// start starts a program that stays.
func (l *lab) start(c guest.Command) int {
	l.t.Helper()
	var pid int
	l.must(l.Ask("Start", c, &pid))
	return pid
}

// state is the letter of proc(5) for a program that was started, "" for none.
func (l *lab) state(pid int) string {
	l.t.Helper()
	var letter string
	l.must(l.Ask("Look", pid, &letter))
	return letter
}

func (l *lab) read(path string) string {
	l.t.Helper()
	var text string
	l.must(l.Ask("Read", path, &text))
	return text
}

func (l *lab) release() string { return strings.TrimSpace(l.read("/proc/sys/kernel/osrelease")) }

// until waits for something that no event tells.
func (l *lab) until(what string, holds func() bool) {
	l.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	hang := time.NewTimer(Guard)
	defer hang.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-hang.C:
			l.t.Fatalf("hang guard: after %v it does not hold that %s", Guard, what)
		}
	}
}

// says waits until a file of the machine has so many matches.
func (l *lab) says(path, expression string, count int) {
	l.t.Helper()
	re := regexp.MustCompile(expression)
	text := ""
	defer func() {
		if l.t.Failed() {
			l.t.Logf("%s:\n%s", path, text)
		}
	}()
	l.until(path+" says "+expression, func() bool {
		text = l.read(path)
		return len(re.FindAllString(text, -1)) >= count
	})
}

// pass lets time pass.
func (l *lab) pass(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}
