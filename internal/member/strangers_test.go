package member

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// fakeProcess is a process of a tree that looks like /proc.
type fakeProcess struct {
	pid, ppid int
	uid       uint32
	audit     uint32
	cgroup    string
	noStat    bool // whoever reads where it is in the tree finds nothing
}

func fakeTree(t *testing.T, processes []fakeProcess) (*proc.FS, string) {
	t.Helper()
	root := t.TempDir()
	for _, p := range processes {
		dir := filepath.Join(root, strconv.Itoa(p.pid))
		fields := strings.Fields(strings.Repeat("0 ", 49))
		fields[0], fields[1], fields[3], fields[17] = "S", strconv.Itoa(p.ppid), strconv.Itoa(p.pid), "1"
		fields[19] = strconv.Itoa(1000 + p.pid)
		files := map[string]string{
			"sessionid": fmt.Sprint(p.audit), "cgroup": "0::" + p.cgroup + "\n",
			"status": fmt.Sprintf("Name:\tfake\nUid:\t%d\t%d\t%d\t%d\n", p.uid, p.uid, p.uid, p.uid),
			"stat":   fmt.Sprintf("%d (fake) %s\n", p.pid, strings.Join(fields, " ")),
			"exe":    "",
		}
		if p.noStat {
			delete(files, "stat")
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if os.Getuid() == 0 {
			if err := os.Chown(dir, int(p.uid), -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	fs, err := proc.New(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() })
	return fs, root
}

const (
	hers, his  = 5, 7 // audit ids
	hersScope  = "/user.slice/user-61236.slice/session-5.scope"
	hisScope   = "/user.slice/user-61235.slice/session-7.scope"
	loginOwner = 61236
)

// TestOtherLoginsAreNotReadWhole: where root ends a login, of who has another
// user's uid and another login's audit id nothing else is read, unless it is
// above somebody who may belong.
func TestOtherLoginsAreNotReadWhole(t *testing.T) {
	other := fakeProcess{uid: testUID(), audit: his, cgroup: hisScope}
	list := []fakeProcess{{pid: 1, audit: session.NoAudit, cgroup: "/init.scope"}}
	for pid := 100; pid < 100+3*shareFrom; pid++ { // by two readers
		p := other
		p.pid, p.ppid, p.noStat = pid, 1, true
		list = append(list, p)
	}
	// Of hers: an exempt program 20, and what it has started by way of him.
	list = append(list,
		fakeProcess{pid: 20, ppid: 1, uid: loginOwner, audit: hers, cgroup: hersScope},
		fakeProcess{pid: 30, ppid: 20, uid: testUID(), audit: his, cgroup: hisScope},
		fakeProcess{pid: 40, ppid: 30, uid: loginOwner, audit: hers, cgroup: hersScope},
		fakeProcess{pid: 50, ppid: 1, uid: loginOwner, audit: hers, cgroup: hersScope},
	)
	fs, _ := fakeTree(t, list)
	exe, err := fs.Image(20)
	if err != nil {
		t.Fatal(err)
	}
	target := Target{
		Entry: entryA(t, openProc(t)), Login: true, Bound: Bound{UID: loginOwner},
		InScope: func() ([]int, error) { return []int{20, 40, 50}, nil },
		Exempt:  NewExempt([]string{"mosh"}, func(string) (File, bool) { return File{exe.Dev, exe.Ino}, true }),
	}
	target.Entry.Audit, target.Entry.Scope, target.Entry.OwnsLogin, target.Entry.Start = hers, hersScope, true, 1
	const exempt = "exempt: mosh"
	f := newFinder(t, fs, target)
	for look := range 2 {
		pass, err := f.All(t.Context())
		if err != nil || pass.Unknown != 0 || pass.Vanished != 0 {
			t.Fatalf("look %d: %d unknown, %d vanished: %v", look, pass.Unknown, pass.Vanished, err)
		}
		why := map[int]string{}
		for i := range pass.Findings {
			if found := &pass.Findings[i]; found.Member || strings.HasPrefix(found.Why, exempt) {
				why[found.ID.PID] = found.Why
			}
		}
		if len(why) != 3 || !strings.HasPrefix(why[20], exempt) || !strings.HasPrefix(why[40], exempt) || !strings.Contains(why[50], "scope") {
			t.Errorf("look %d: %v", look, why)
		}
	}
}

// TestMemberStaysWhateverItBecomes: a member that has come to run as somebody
// else with another login's audit id still is one.
func TestMemberStaysWhateverItBecomes(t *testing.T) {
	member := fakeProcess{pid: 50, ppid: 1, uid: loginOwner, audit: hers, cgroup: hersScope}
	fs, root := fakeTree(t, []fakeProcess{{pid: 1, audit: session.NoAudit, cgroup: "/init.scope"}, member})
	scope := []int{50}
	target := Target{
		Entry: entryA(t, openProc(t)), Login: true, Bound: Bound{UID: loginOwner},
		InScope: func() ([]int, error) { return scope, nil },
	}
	target.Entry.Audit, target.Entry.Scope, target.Entry.OwnsLogin, target.Entry.Start = hers, hersScope, true, 1
	f := newFinder(t, fs, target)
	if pass, err := f.All(t.Context()); err != nil || len(pass.Findings) != 1 || !pass.Findings[0].Member {
		t.Fatalf("%+v: %v", pass.Findings, err)
	}
	f.records.get(50).Known = session.ByScope // as Full does, with a reference that a tree of files cannot give

	scope = nil
	dir := filepath.Join(root, "50")
	for name, text := range map[string]string{"sessionid": fmt.Sprint(his), "cgroup": "0::" + hisScope + "\n", "status": strings.ReplaceAll("Name:\tfake\nUid:\tU\tU\tU\tU\n", "U", fmt.Sprint(testUID()))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, int(testUID()), -1); err != nil {
			t.Fatal(err)
		}
	}
	pass, err := f.All(t.Context())
	if err != nil || len(pass.Findings) != 1 || !pass.Findings[0].Member || pass.Findings[0].ID.Start == 0 {
		t.Fatalf("%+v: %v", pass.Findings, err)
	}
}

// TestFirstLookIsFrugal: what a first look leaves behind is bounded for each
// process that there is, and nothing of it is made again and again as the list
// grows.
func TestFirstLookIsFrugal(t *testing.T) {
	const processes, most = 3000, 2300 // bytes a process of the user's own, whose environment is read too
	look := still(t, processes)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	look()
	runtime.ReadMemStats(&after)
	each := (after.TotalAlloc - before.TotalAlloc) / processes
	if each > most {
		t.Errorf("%d bytes a process, want at most %d", each, most)
	}
	t.Logf("%d bytes a process", each)
}
