package member

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/linux"
	"xexit/internal/proc/proctest"
	"xexit/internal/session"
)

const hidepidEnv = "XEXIT_TEST_HIDEPID"

// TestHidden starts itself again as an ordinary user in a pid namespace whose
// /proc hides processes.
func TestHidden(t *testing.T) {
	if os.Getenv(hidepidEnv) != "" {
		testBelow(t)
		testElsewhere(t)
		testGoes(t)
		return
	}
	if os.Getuid() != 0 {
		skip(t, "only root can mount a /proc that hides processes")
	}
	for _, value := range []string{"1", "2", "4", "2,gid=" + strconv.Itoa(int(testUID()))} {
		t.Run(value, func(t *testing.T) {
			// Few numbers make it quick, where they are the namespace's own (Linux 6.14).
			const script = `mount --make-rprivate / && mount -t proc -o hidepid="$1" proc /proc || exit 77
if printf '6.14\n%s\n' "$(uname -r)" | sort -VC; then echo 32768 >/proc/sys/kernel/pid_max; fi
setpriv --reuid "$2" --regid "$2" --clear-groups /proc/self/fd/3 -test.run='^TestHidden$' -test.v
exit $?`
			exe, err := os.Open("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			defer exe.Close()
			cmd := exec.Command("/bin/sh", "-c", script, "sh", value, strconv.Itoa(int(testUID())))
			cmd.ExtraFiles = []*os.File{exe}
			cmd.Dir = "/"
			cmd.Env = append(os.Environ(), hidepidEnv+"="+value)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 77 {
				skip(t, "no /proc can be mounted here: "+string(out))
			}
			if err != nil || !strings.Contains(string(out), "--- PASS: TestHidden") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// exempt: the group of the mount option sees everything (proc(5)).
func exempt() bool { return strings.Contains(os.Getenv(hidepidEnv), "gid=") }

// testBelow: below a subreaper whoever hides is a member, as soon as he is
// the child of somebody that can be seen.
func testBelow(t *testing.T) {
	fs := openProc(t)
	if got := fs.Hides(); got == exempt() {
		t.Fatalf("/proc hides: %v", got)
	}
	tree := proctest.Start(t,
		proctest.Spec{Name: "reaper", Subreaper: true, Below: []proctest.Spec{
			{Name: "agent", NoDump: true, Setsid: true, Orphan: true},
			{Name: "shell", Below: []proctest.Spec{{Name: "inner", NoDump: true}}},
			{Name: "hidden", NoDump: true, Below: []proctest.Spec{{Name: "deeper", NoDump: true}}},
		}},
		proctest.Spec{Name: "outsider", NoDump: true},
	)
	target := Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID(), ByDescentOnly: true}}
	target.Entry.Subreaper = procID(t, fs, tree.PID("reaper"))
	target.Bound.Subreaper = target.Entry.Subreaper
	f := newFinder(t, fs, target)
	pass := fullPass(t, f)
	if pass.Clean || f.hide.asked != 0 {
		t.Errorf("clean: %v, asked about numbers: %v", pass.Clean, f.hide.asked != 0)
	}
	for _, name := range []string{"agent", "shell", "inner", "hidden"} {
		got, ok := findingOf(pass, tree.PID(name))
		if !ok || !got.Member || got.Ref == nil || !got.Evidence.Has(session.ByDescent) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		} else if hid := !exempt() && name != "shell"; hid != (got.ID.Start == 0) || hid != (got.Comm == hiddenName) {
			t.Errorf("%s: %v %q", name, got.ID, got.Comm)
		}
	}
	if got, ok := findingOf(pass, tree.PID("outsider")); ok && (got.Member || got.Undecided) {
		t.Errorf("outsider: %+v", got)
	}
	if got, ok := findingOf(pass, tree.PID("deeper")); ok && got.Member != exempt() {
		t.Errorf("deeper, while its parent lives: %+v", got)
	}

	hidden, _ := findingOf(pass, tree.PID("hidden"))
	if hidden.Ref == nil {
		t.Fatal("no reference")
	}
	err := hidden.Ref.Signal(syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	// It is a zombie then, whose children have another parent.
	for dead := false; !dead; linux.Yield() {
		if _, dead, err = fs.IsProcess(hidden.ID.PID); err != nil {
			t.Fatal(err)
		}
	}
	pass = fullPass(t, f)
	if got, ok := findingOf(pass, tree.PID("deeper")); !ok || !got.Member || got.Ref == nil {
		t.Errorf("deeper: %+v, %v", got, ok)
	}
	again := fullPass(t, f)
	if got, _ := findingOf(again, tree.PID("hidden")); got.Member {
		t.Errorf("the dead: %+v", got)
	}
	if !again.Clean {
		t.Errorf("not clean: %+v", again)
	}
}

// testElsewhere: without a subreaper everybody who hides is named, and nobody
// is a member for descending from one.
func testElsewhere(t *testing.T) {
	if exempt() {
		return
	}
	fs := openProc(t)
	tree := proctest.Start(t, proctest.Spec{Name: "shell", Env: []string{markerA}, Below: []proctest.Spec{
		{Name: "agent", NoDump: true, Env: []string{markerA}},
		{Name: "other", NoDump: true, Orphan: true, Below: []proctest.Spec{{Name: "deeper", NoDump: true}}},
	}})
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	look, err := f.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := settled(t, f)
	late := proctest.Start(t, proctest.Spec{Name: "late", NoDump: true})
	second := settled(t, f)
	for i, pass := range []Pass{look, first, second} {
		for _, name := range []string{"agent", "other", "deeper"} {
			got, ok := findingOf(pass, tree.PID(name))
			if !ok || got.Member || !got.Undecided || got.Ref != nil || !strings.Contains(got.Why, "hidepid") {
				t.Errorf("pass %d: %s: %+v, %v", i, name, got, ok)
			}
		}
		if got, _ := findingOf(pass, tree.PID("shell")); !got.Member {
			t.Errorf("pass %d: shell: %+v", i, got)
		}
	}
	if got, ok := findingOf(second, late.PID("late")); !ok || !got.Undecided {
		t.Errorf("late: %+v, %v", got, ok)
	}
}

// testGoes: who hides and dies is not named any more.
func testGoes(t *testing.T) {
	if exempt() {
		return
	}
	fs := openProc(t)
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	tree := proctest.Start(t, proctest.Spec{Name: "agent", NoDump: true})
	if got, _ := findingOf(settled(t, f), tree.PID("agent")); !got.Undecided {
		t.Errorf("%+v", got)
	}
	tree.Stop()
	if got, ok := findingOf(settled(t, f), tree.PID("agent")); ok {
		t.Errorf("gone: %+v", got)
	}
}

// settled is the first pass that is clean: all numbers were asked by then.
func settled(t *testing.T, f *Finder) Pass {
	t.Helper()
	for range 10_000 {
		if pass := fullPass(t, f); pass.Clean {
			return pass
		}
	}
	t.Fatal("no pass is clean")
	return Pass{}
}

// hide makes a forest one on a machine whose /proc hides what is not dumpable.
// Where a process of the session has been given a scope of its own, and below
// its subreaper hides, nobody can tell.
func (f *forest) hide() {
	e := &f.target.Entry
	for _, t := range f.trees {
		anchor := t.kind == untouched || t.subreaper || t.ID == e.Leader
		for k := range f.target.Others {
			anchor = anchor || t.ID == f.target.Others[k].Leader
		}
		if anchor || t.kind == delegated && t.below(e.Subreaper) || !f.chance(30) {
			continue
		}
		for _, below := range f.trees {
			if below.Born == t.ID {
				below.Born.Start = 0
			}
		}
		t.ID.Start, t.Hidden, t.Far, t.Cgroup, t.Audit = 0, true, false, "", session.NoAudit
		t.set(envOf{})
		t.Env = EnvDenied
		if t.UID != f.uid {
			t.Denied, t.UIDKnown = true, false
		}
	}
}
