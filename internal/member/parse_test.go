package member

import (
	"testing"
	"testing/fstest"

	"xexit/internal/registry"
	"xexit/internal/session"
)

func TestParseCgroup(t *testing.T) {
	for _, c := range []struct {
		path string
		want cgroup
	}{
		{"", cgroup{}},
		{"/", cgroup{}},
		{"/init.scope", cgroup{kind: cgroupSystem, unit: "init.scope"}},
		{"/system.slice/cron.service", cgroup{kind: cgroupSystem, unit: "cron.service"}},
		{"/system.slice/slurmstepd.scope/job_1/step_0", cgroup{kind: cgroupSystem, unit: "step_0"}},
		{"/batch.slice/job.service", cgroup{kind: cgroupSystem, unit: "job.service"}},
		{"/machine.slice/machine-x.scope/payload/user.slice", cgroup{kind: cgroupSystem, unit: "user.slice"}},
		{"/user.slice/user-1000.slice/session-c4.scope", cgroup{kind: cgroupLogin, unit: "session-c4.scope", user: true, uid: 1000}},
		{"/user.slice/user-1000.slice/session-4.scope/own", cgroup{kind: cgroupLogin, unit: "session-4.scope", user: true, uid: 1000}},
		{"/lxc/box/user.slice/user-7.slice/session-4.scope", cgroup{kind: cgroupLogin, unit: "session-4.scope", user: true, uid: 7}},
		{"/user.slice/user-1000.slice/user@1000.service/init.scope", cgroup{kind: cgroupManager, unit: "user@1000.service", user: true, uid: 1000, init: true}},
		{"/user.slice/user-1000.slice/user@1000.service/session.slice/dbus.service", cgroup{kind: cgroupManager, unit: "user@1000.service", user: true, uid: 1000}},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope", cgroup{kind: cgroupManager, unit: "user@1000.service", user: true, uid: 1000, ownScope: true}},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope/x.service", cgroup{kind: cgroupManager, unit: "user@1000.service", user: true, uid: 1000}},
		// Names that a user makes below his manager do not count.
		{"/user.slice/user-1000.slice/user@1000.service/session-4.scope", cgroup{kind: cgroupManager, unit: "user@1000.service", user: true, uid: 1000, ownScope: true}},
		{"/user.slice/user-1000.slice/xexit-keep.scope", cgroup{kind: cgroupUser, unit: "user-1000.slice", user: true, uid: 1000}},
		{"/5", cgroup{kind: cgroupOther, unit: "5"}},
		{"/xexit/login-p7", cgroup{kind: cgroupLogin, unit: "login-p7"}},
		{"/xexit/login-p7/own/session-4.scope", cgroup{kind: cgroupLogin, unit: "login-p7"}},
		{"/own/xexit/login-p7", cgroup{kind: cgroupOther, unit: "own"}},
	} {
		if got := parseCgroup(c.path); got != c.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.path, got, c.want)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		path, scope string
		want        bool
	}{
		{"/a/b", "/a/b", true},
		{"/a/b/c", "/a/b", true},
		{"/a/bc", "/a/b", false},
		{"/a", "/a/b", false},
		{"/a", "", false},
		{"", "", false},
		{"/", "/", false},
	} {
		if got := Within(c.path, c.scope); got != c.want {
			t.Errorf("Within(%q, %q) = %v", c.path, c.scope, got)
		}
	}
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestReadLogins(t *testing.T) {
	root := fstest.MapFS{
		"run/systemd/users/1000":       file("# private\nNAME=alice\nSTATE=active\n"),
		"run/systemd/sessions/4":       file("UID=1000\nUSER=alice\nSTATE=active\nCLASS=user\nSCOPE=session-4.scope\nLEADER=77\nTYPE=x11\n"),
		"run/systemd/sessions/5":       file("UID=1000\nSTATE=closing\nCLASS=user\nSCOPE=session-5.scope\n"),
		"run/systemd/sessions/c6":      file("UID=1000\nSTATE=online\nCLASS=background\nSCOPE=session-c6.scope\n"),
		"run/systemd/sessions/7":       file("UID=1000\nSTATE=active\nCLASS=manager\n"),
		"run/systemd/sessions/8":       file("UID=1001\nSTATE=active\nCLASS=user\nSCOPE=session-8.scope\n"),
		"run/systemd/sessions/4.ref":   file(""),
		"run/systemd/sessions/.#9x":    file("UID=1000\nSTATE=active\nCLASS=user\n"),
		"var/lib/systemd/linger/bob":   file(""),
		"var/lib/systemd/linger/carol": file(""),
	}
	l, err := ReadLogins(root, 1000)
	if err != nil || !l.Known || l.Unsure || l.Lingers || len(l.List) != 4 {
		t.Fatalf("%+v, %v", l, err)
	}
	own := registry.Entry{Scope: "/user.slice/user-1000.slice/session-4.scope"}
	if l.OtherLive(&own) {
		t.Error("another live login beside ours, a closing, a background and a manager's one")
	}
	for name, e := range map[string]registry.Entry{
		"by leader": {Leader: session.ProcID{PID: 77, Start: 1}},
		"by marker": {Markers: []session.Marker{{Name: "XDG_SESSION_ID", Value: "4"}}},
	} {
		if l.OtherLive(&e) {
			t.Errorf("%s: our own login counts as another", name)
		}
	}
	if !l.OtherLive(&registry.Entry{}) || !l.OtherLive(&registry.Entry{Scope: "/x/session-5.scope"}) {
		t.Error("a live login that is not ours does not count")
	}
	if !l.closing("session-5.scope") || l.closing("session-4.scope") || l.closing("session-99.scope") {
		t.Error("closing")
	}
	root["var/lib/systemd/linger/alice"] = file("")
	if l, _ := ReadLogins(root, 1000); !l.Lingers {
		t.Error("alice does not linger")
	}
}

func TestReadLoginsElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		root fstest.MapFS
		want Logins
	}{
		"no systemd":      {fstest.MapFS{"etc/passwd": file("root:x:0:0::/:/bin/sh\n")}, Logins{}},
		"empty directory": {fstest.MapFS{"run/systemd/sessions": {Mode: 0o755 | 1<<31}}, Logins{}},
		"nobody logged in, by passwd": {fstest.MapFS{
			"run/systemd/sessions/8": file("UID=1001\nCLASS=user\nSTATE=active\n"), "etc/passwd": file("a:x:1000:1::/:/bin/sh\n"),
			"var/lib/systemd/linger/a": file(""),
		}, Logins{Known: true, Lingers: true}},
		"name unknown, somebody lingers": {fstest.MapFS{
			"run/systemd/sessions/8": file("UID=1001\n"), "var/lib/systemd/linger/z": file(""),
		}, Logins{Known: true, Lingers: true}},
	} {
		got, err := ReadLogins(c.root, 1000)
		if err != nil || got.Known != c.want.Known || got.Lingers != c.want.Lingers || len(got.List) != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if l, err := ReadLogins(nil, 1000); err != nil || l.Known {
		t.Errorf("%+v, %v", l, err)
	}
	unsure := Logins{Unsure: true}
	if !unsure.OtherLive(&registry.Entry{}) {
		t.Error("what could not be read may be a live login")
	}
}

func TestSubUIDs(t *testing.T) {
	root := fstest.MapFS{"etc/subuid": file("alice:100000:65536\nbob:165536:65536\n1000:300000:10\nalice:1000:5\nalice:x:1\nalice:4294967000:65536\n\n")}
	got, err := SubUIDs(root, "alice", 1000)
	if err != nil || len(got) != 2 || got[0] != (UIDRange{100000, 65536}) || got[1] != (UIDRange{300000, 10}) {
		t.Errorf("%v, %v", got, err)
	}
	b := Bound{UID: 1000, SubUIDs: got}
	for uid, want := range map[uint32]bool{1000: true, 100000: true, 165535: true, 165536: false, 99999: false, 300009: true, 300010: false, 0: false} {
		if b.hasUID(uid) != want {
			t.Errorf("%d: %v", uid, !want)
		}
	}
	if got, err := SubUIDs(fstest.MapFS{}, "alice", 1000); err != nil || got != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
}

// TestRaces that a snapshot shows: a parent ring, a reused number as a parent.
func TestBrokenTree(t *testing.T) {
	mk := func(pid, ppid int, start uint64) *Process {
		return &Process{ID: session.ProcID{PID: pid, Start: start}, PPID: ppid, UID: 1000, UIDKnown: true, Audit: session.NoAudit}
	}
	ring1, ring2 := mk(10, 11, 5), mk(11, 10, 5)
	parent, child, stranger := mk(20, 1, 5), mk(21, 20, 6), mk(22, 20, 4)
	parent.Unique = string(sessionA)
	s := &Snapshot{Processes: []*Process{ring1, ring2, child, stranger, parent}}
	target := &Target{Entry: registry.Entry{ID: sessionA, Audit: session.NoAudit}, Bound: Bound{UID: 1000}}
	for _, got := range Classify(target, s) {
		if want := got.ID.PID == 20 || got.ID.PID == 21; got.Member != want {
			t.Errorf("%+v", got)
		}
	}
	// A child that lost its parent between two looks.
	child.PPID, child.Born = 1, parent.ID
	s.Past = map[session.ProcID]struct{}{parent.ID: {}}
	s.Processes = []*Process{child}
	if got := Classify(target, s); len(got) != 1 || !got[0].Member || got[0].Evidence != session.ByDescent {
		t.Errorf("%+v", got)
	}
}
