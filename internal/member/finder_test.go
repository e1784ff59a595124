package member

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/linux"
	"xexit/internal/proc"
	"xexit/internal/proc/proctest"
	"xexit/internal/registry"
	"xexit/internal/session"
)

func TestMain(m *testing.M) {
	proctest.RunIfChild()
	os.Exit(m.Run())
}

const (
	sessionA = session.ID("aaaaaaaa-0000-4000-8000-000000000001")
	sessionB = session.ID("bbbbbbbb-0000-4000-8000-000000000002")
)

// testUID is what processes of these tests run as: somebody without rights if
// we are root.
func testUID() uint32 {
	if os.Getuid() == 0 {
		return 61235
	}
	return uint32(os.Getuid())
}

func spawnUID() uint32 {
	if os.Getuid() == 0 {
		return testUID()
	}
	return 0
}

func openProc(t testing.TB) *proc.FS {
	t.Helper()
	fs, err := proc.New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() })
	return fs
}

func newFinder(t testing.TB, fs *proc.FS, target Target) *Finder {
	t.Helper()
	f := NewFinder(fs, target)
	t.Cleanup(f.Close)
	return f
}

func procID(t testing.TB, fs *proc.FS, pid int) session.ProcID {
	t.Helper()
	s, err := fs.Stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return s.ID()
}

// ownAudit is the audit id that children start with.
func ownAudit(t testing.TB, fs *proc.FS) uint32 {
	t.Helper()
	a, err := fs.Audit(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// entryA is a session that begins now.
func entryA(t testing.TB, fs *proc.FS) registry.Entry {
	t.Helper()
	return registry.Entry{
		ID: sessionA, Marked: true, Display: ":7", Audit: ownAudit(t, fs), UID: testUID(),
		Markers: []session.Marker{{Name: "LTSP_CLIENT_HOSTNAME", Value: "ltsp101"}, {Name: "DISPLAY", Value: ":7"}},
		Start:   procID(t, fs, os.Getpid()).Start,
		Watcher: procID(t, fs, os.Getpid()), // lends the children its home
		Phase:   session.PhaseEnding,
	}
}

func fullPass(t testing.TB, f *Finder) Pass {
	t.Helper()
	pass, err := f.Full(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return pass
}

func findingOf(pass Pass, pid int) (Finding, bool) {
	for _, f := range pass.Findings {
		if f.ID.PID == pid {
			return f, true
		}
	}
	return Finding{}, false
}

var markerA = "XEXIT_SESSION=" + string(sessionA)

// leftovers are processes of session A, or not.
func leftovers() []proctest.Spec {
	uid := spawnUID()
	ltsp := []string{"LTSP_CLIENT_HOSTNAME=ltsp101", "DISPLAY=:7.0"}
	return []proctest.Spec{
		{Name: "daemon", UID: uid, Setsid: true, Orphan: true, Env: []string{"X=1", markerA}},
		{Name: "shell", UID: uid, Env: []string{markerA}, Below: []proctest.Spec{
			{Name: "shell-empty", Setsid: true},
			{Name: "shell-agent", NoDump: true, Env: []string{markerA}},
			{Name: "shell-nested", Env: []string{"XEXIT_SESSION=" + string(sessionB)}, Below: []proctest.Spec{
				{Name: "nested-empty"},
			}},
		}},
		{Name: "ambient", UID: uid, Env: ltsp},
		{Name: "deadhead", UID: uid, Env: []string{markerA}, DeadHead: true},
		{Name: "escaped", UID: uid, Setsid: true, Orphan: true},
		{Name: "wiped", UID: uid, Env: []string{markerA}, Wipe: true, Orphan: true},
		{Name: "other", UID: uid, Env: append([]string{"XEXIT_SESSION=" + string(sessionB)}, ltsp...)},
		{Name: "longer", UID: uid, Env: []string{"LTSP_CLIENT_HOSTNAME=ltsp101-b"}},
		{Name: "mixed", UID: uid, Env: []string{"LTSP_CLIENT_HOSTNAME=ltsp101", "DISPLAY=:8"}},
		{Name: "at", UID: uid, Fresh: true, Orphan: true, Env: append([]string{markerA}, ltsp...)},
	}
}

func TestFullOnRealProcesses(t *testing.T) {
	fs := openProc(t)
	tree := proctest.Start(t, leftovers()...)
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	pass := fullPass(t, f)

	const member, undecided, spared = 'm', 'u', 's'
	wants := []struct {
		name     string
		want     rune
		evidence session.Evidence
		why      string
	}{
		{"daemon", member, session.ByMarker, "its XEXIT_SESSION is this session's"},
		{"shell", member, session.ByMarker, "its XEXIT_SESSION is this session's"},
		{"shell-empty", member, session.ByDescent, "child of"},
		{"shell-agent", member, session.ByDescent | session.ByMarker, "child of"},
		{"shell-nested", spared, 0, "belongs to session " + string(sessionB)},
		{"nested-empty", undecided, 0, ""},
		{"ambient", member, session.ByAmbient, "LTSP_CLIENT_HOSTNAME"},
		{"deadhead", member, session.ByMarker, ""},
		{"escaped", undecided, 0, ""},
		{"wiped", undecided, 0, ""},
		{"other", spared, 0, "belongs to session"},
		{"longer", spared, 0, "LTSP_CLIENT_HOSTNAME"},
		{"mixed", undecided, 0, "DISPLAY"},
		{"at", undecided, 0, "another login"},
	}
	for _, w := range wants {
		got, ok := findingOf(pass, tree.PID(w.name))
		switch {
		case !ok:
			t.Errorf("%s: not found", w.name)
			continue
		case w.name == "at" && ownAudit(t, fs) != session.NoAudit:
			continue // it could not get an audit id of its own
		case w.name == "shell-agent" && os.Getuid() != 0:
			w.evidence = session.ByDescent
		}
		if got.Member != (w.want == member) || got.Undecided != (w.want == undecided) ||
			w.evidence != 0 && got.Evidence != w.evidence || !strings.Contains(got.Why, w.why) {
			t.Errorf("%s: member %v, undecided %v, evidence %v, %q", w.name, got.Member, got.Undecided, got.Evidence, got.Why)
		}
		if got.UID != testUID() || got.ID != procID(t, fs, tree.PID(w.name)) {
			t.Errorf("%s: uid %d, id %v", w.name, got.UID, got.ID)
		}
		if (got.Ref != nil) != got.Member {
			t.Errorf("%s: member %v, reference %v", w.name, got.Member, got.Ref)
		}
		if got.Ref != nil {
			if err := got.Ref.Signal(0); err != nil || got.Ref.ID() != got.ID {
				t.Errorf("%s: reference to %v: %v", w.name, got.Ref.ID(), err)
			}
		}
	}
	for _, got := range pass.Findings {
		if got.Member && got.UID != testUID() {
			t.Errorf("outside the bound: %+v", got)
		}
	}
	if pass.Clean {
		t.Error("clean, though all members were new")
	}
	first := pass.Fresh
	again := fullPass(t, f)
	if again.Fresh != 0 || first == 0 {
		t.Errorf("%d new members at first, then %d", first, again.Fresh)
	}
}

// TestSticky: who was a member stays one, and so do its children, whatever
// becomes of the evidence; references are the same.
func TestSticky(t *testing.T) {
	fs := openProc(t)
	tree := proctest.Start(t, proctest.Spec{
		Name: "parent", UID: spawnUID(), Env: []string{markerA},
		Below: []proctest.Spec{{Name: "child", Setsid: true}},
	})
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	pass := fullPass(t, f)
	parent, _ := findingOf(pass, tree.PID("parent"))
	child, _ := findingOf(pass, tree.PID("child"))
	if !parent.Member || !child.Member {
		t.Fatalf("parent %+v\nchild %+v", parent, child)
	}
	if err := parent.Ref.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitDead(t, parent.Ref)
	pass = fullPass(t, f)
	if got, ok := findingOf(pass, parent.ID.PID); ok {
		t.Errorf("dead, but found: %+v", got)
	}
	got, ok := findingOf(pass, child.ID.PID)
	if !ok || !got.Member || got.Ref != child.Ref || got.PPID == parent.ID.PID {
		t.Errorf("child after its parent's death: %+v", got)
	}
	if !pass.Clean && pass.Unknown == 0 && pass.Fresh > 0 {
		t.Errorf("fresh members: %+v", pass)
	}
	f.Close()
	if child.Ref.FD() != -1 {
		t.Error("the reference is still open")
	}
}

// waitDead waits until the process behind a pidfd is dead.
func waitDead(t testing.TB, r *proc.Ref) {
	t.Helper()
	fs := openProc(t)
	for range 1 << 22 {
		s, err := fs.Stat(r.ID().PID)
		if errors.Is(err, proc.ErrGone) || err == nil && (s.ID() != r.ID() || s.Dead()) {
			return
		}
		linux.Yield()
	}
	t.Fatalf("%v does not die", r.ID())
}

// TestSubreaper: below a subreaper nothing escapes, and with ByDescentOnly
// nothing else is touched.
func TestSubreaper(t *testing.T) {
	fs := openProc(t)
	uid := spawnUID()
	tree := proctest.Start(t,
		proctest.Spec{Name: "xexit", UID: uid, Subreaper: true, Below: []proctest.Spec{
			{Name: "leader", Below: []proctest.Spec{{Name: "daemon", Setsid: true, Orphan: true}}},
			{Name: "agent", NoDump: true, Setsid: true, Orphan: true},
			{Name: "audit", Fresh: true, Orphan: true},
			{Name: "inner", Env: []string{"XEXIT_SESSION=" + string(sessionB)}},
		}},
		proctest.Spec{Name: "outside", UID: uid, Env: []string{markerA}},
	)
	entry := entryA(t, fs)
	entry.Subreaper = procID(t, fs, tree.PID("xexit"))
	bound := Bound{UID: testUID(), Subreaper: entry.Subreaper, ByDescentOnly: true}
	pass := fullPass(t, newFinder(t, fs, Target{Entry: entry, Bound: bound}))
	for name, want := range map[string]bool{
		"xexit": false, "leader": true, "daemon": true, "agent": true, "audit": true, "inner": false, "outside": false,
	} {
		got, ok := findingOf(pass, tree.PID(name))
		if !ok || got.Member != want || want && got.Evidence != session.ByDescent {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestOwnedLogin: an audit id finds what no marker does.
func TestOwnedLogin(t *testing.T) {
	fs := openProc(t)
	if a := ownAudit(t, fs); a != session.NoAudit {
		skip(t, "we have an audit id already, children cannot have another one")
	}
	tree := proctest.Start(t,
		proctest.Spec{Name: "login", UID: spawnUID(), Fresh: true, Below: []proctest.Spec{
			{Name: "escaped", Setsid: true, Orphan: true, NoDump: true},
		}},
		proctest.Spec{Name: "stranger", UID: spawnUID(), Orphan: true},
	)
	entry := entryA(t, fs)
	audit, err := fs.Audit(tree.PID("login"))
	if err != nil {
		t.Fatal(err)
	}
	if audit == session.NoAudit {
		skip(t, "this kernel gives no audit ids")
	}
	entry.Audit, entry.OwnsLogin = audit, true
	target := Target{Entry: entry, Bound: Bound{UID: testUID()}}
	pass := fullPass(t, newFinder(t, fs, target))
	for name, want := range map[string]bool{"login": true, "escaped": true, "stranger": false} {
		if got, ok := findingOf(pass, tree.PID(name)); !ok || got.Member != want || want && !got.Evidence.Has(session.ByAudit) {
			t.Errorf("owned: %s: %+v", name, got)
		}
	}
	// Another session in the same login: the audit id does not speak any more.
	target.Others = []registry.Entry{{ID: sessionB, Audit: audit, UID: testUID()}}
	pass = fullPass(t, newFinder(t, fs, target))
	if got, ok := findingOf(pass, tree.PID("escaped")); !ok || got.Member || !got.Undecided {
		t.Errorf("shared: %+v", got)
	}
}

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// TestOtherUser: below a member, but somebody else's.
func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		skip(t, "only root can start processes of others")
	}
	fs := openProc(t)
	tree := proctest.Start(t, proctest.Spec{Name: "sudo", Env: []string{markerA}, Below: []proctest.Spec{
		{Name: "own", UID: testUID(), Env: []string{markerA}},
		{Name: "child", UID: testUID() + 1, Env: []string{markerA}},
	}})
	pass := fullPass(t, newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}}))
	if got, ok := findingOf(pass, tree.PID("own")); !ok || !got.Member {
		t.Errorf("own: %+v", got)
	}
	// The parent is root's and not ours by any evidence that counts, so
	// nothing of another user is said to belong.
	if got, ok := findingOf(pass, tree.PID("child")); ok && got.Member {
		t.Errorf("child: %+v", got)
	}
	entry := entryA(t, fs)
	entry.Subreaper = procID(t, fs, os.Getpid())
	pass = fullPass(t, newFinder(t, fs, Target{Entry: entry, Bound: Bound{UID: testUID()}}))
	if got, ok := findingOf(pass, tree.PID("child")); !ok || got.Member || got.Unkillable == nil || got.UID != testUID()+1 {
		t.Errorf("child of a member: %+v", got)
	}
	if got, ok := findingOf(pass, tree.PID("sudo")); !ok || got.Member || got.Unkillable == nil {
		t.Errorf("root's child of the subreaper: %+v", got)
	}
}

func TestAllHasNoReferences(t *testing.T) {
	fs := openProc(t)
	tree := proctest.Start(t, proctest.Spec{Name: "a", UID: spawnUID(), Env: []string{markerA}})
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	for range 2 {
		pass, err := f.All(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := findingOf(pass, tree.PID("a")); !ok || !got.Member || got.Ref != nil || pass.Clean {
			t.Errorf("%+v", got)
		}
	}
}

func TestCleanWhenNobodyIsLeft(t *testing.T) {
	fs := openProc(t)
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	for range 200 { // others come and go: it must be clean soon
		if pass := fullPass(t, f); pass.Clean {
			return
		}
	}
	t.Fatal("never clean")
}

func TestCancelled(t *testing.T) {
	fs := openProc(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	if pass, err := f.Full(ctx); !errors.Is(err, context.Canceled) || pass.Clean {
		t.Errorf("%v, clean %v", err, pass.Clean)
	}
}
