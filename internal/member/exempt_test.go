package member

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"xexit/internal/session"
)

// truth is what is true of a process of a forest about exemptions.
type truth struct {
	exempt  bool // it, or whom it descends from, is what an exemption that is on means
	unknown bool // what it executes could not be read
}

// fakeExempt has a file of its own for every program, on device 1.
func fakeExempt(names ...string) Exempt {
	inode, n := map[string]uint64{}, uint64(0)
	for _, x := range exemptions() {
		for _, path := range x.programs {
			n++
			inode[path] = n
		}
	}
	return NewExempt(names, func(path string) (File, bool) { return File{1, inode[path]}, true })
}

func allExempt() []string {
	var names []string
	for _, x := range exemptions() {
		if x.name != ServicesExemption { // tested apart: see services_test.go
			names = append(names, x.name)
		}
	}
	return names
}

// fileOf is the file of one of an exemption's programs.
func (e *Exempt) fileOf(name string) (File, bool) {
	for _, f := range slices.SortedFunc(maps.Keys(e.programs), func(a, b File) int { return int(a.Ino) - int(b.Ino) }) {
		if e.programs[f].name == name {
			return f, true
		}
	}
	return File{}, false
}

// exempting puts into the forest of a login what exemptions mean, and what
// looks like it and is not. It says what is true of each of the new ones.
func (f *forest) exempting() {
	var on []string
	for _, name := range allExempt() {
		if f.chance(60) {
			on = append(on, name)
		}
	}
	f.target.Exempt = fakeExempt(on...)
	every := fakeExempt(allExempt()...)
	f.snap.Exempt = map[session.ProcID]string{}
	for range 1 + f.r.IntN(4) {
		above := f.a.members[f.r.IntN(len(f.a.members))]
		if above.UID != f.uid || above.kind != ordinary {
			continue
		}
		t := f.add(above, f.uid, ordinary)
		name := allExempt()[f.r.IntN(len(allExempt()))]
		genuine := f.disguise(t, name, &every) && slices.Contains(on, name)
		t.exemption.exempt = genuine
		f.brood(t)
	}
	if f.chance(30) {
		t := f.add(f.a.members[0], f.uid, ordinary)
		t.Image, t.exemption.unknown = Image{Unknown: true}, true
	}
}

// disguise makes a process what an exemption means, and reports true, or what
// comes near.
func (f *forest) disguise(t *tree, name string, every *Exempt) (genuine bool) {
	t.SID, t.TTY = t.ID.PID, 0
	t.Comm = []string{"mosh-server", "ssh", "node", "conmon", "slurmstepd"}[f.r.IntN(5)]
	file, program := every.fileOf(name)
	foreign := f.chance(20)
	t.Image.Foreign = foreign
	t.Image.Listens = name == "ssh-master"
	switch {
	case program && f.chance(30): // by that name, and another file
		t.Image.File = File{file.Dev + uint64(f.r.IntN(2)), file.Ino + 1000}
		return false
	case name == "ssh-master" && f.chance(50):
		t.Image.File = file
		switch f.r.IntN(3) {
		case 0:
			t.TTY = 34816
		case 1:
			t.SID--
		default: // ssh -f
			t.Image.Listens = false
		}
		return false
	case program:
		t.Image.File = file
		return !foreign || name == "containers"
	case name == "vscode-server":
		t.Image.File, t.Image.Server = File{2, 7}, []string{".cursor-server", "", "cursor-server"}[f.r.IntN(3)]
		return t.Image.Server == ".cursor-server" && !foreign
	}
	return f.jobbed(t, name)
}

// jobbed puts a process into the control group of a job, or into one that a
// user can make.
func (f *forest) jobbed(t *tree, name string) bool {
	if Within(t.Cgroup, f.target.Entry.Scope) && !f.systemd {
		return false
	}
	if f.chance(50) {
		own := fmt.Sprintf("/user.slice/user-%d.slice/user@%d.service", f.uid, f.uid)
		t.Cgroup = own + []string{
			"/app.slice/imp-shell-0-fX.service", "/system.slice/slurmstepd.scope/job_1", "/slurm/uid_1000/job_1",
			"/pbs_jobs.service/jobs/1.host",
		}[f.r.IntN(4)]
		if t.kind = shared; strings.Contains(t.Cgroup, ".scope/") {
			t.kind = delegated
		}
		return false
	}
	t.Cgroup = map[string][]string{
		"slurm": {"/system.slice/slurmstepd.scope/job_1/step_0/user/task_0", "/system.slice/n1_slurmstepd.scope/job_1/step_batch", "/slurm/uid_1000/job_7"},
		"pbs":   {"/pbs_jobs.service/jobs/1.host", "/pbs_jobs.service/jobid/1.host", "/pbspro.service/jobid/1.host"},
		"flux":  {"/user.slice/user-500.slice/user@500.service/app.slice/imp-shell-0-fX.service", "/user.slice/user-500.slice/user@500.service/imp-shell-450-fPY.service"},
	}[name][f.r.IntN(2)]
	return true
}

// brood has a process start others, some of which lose their parent.
func (f *forest) brood(t *tree) {
	family := []*tree{t}
	for range f.r.IntN(4) {
		c := f.add(family[f.r.IntN(len(family))], f.uid, t.kind)
		c.exemption = t.exemption
		family = append(family, c)
	}
	for _, c := range family[1:] {
		switch {
		case f.chance(10) && t.exemption.exempt: // it was its child in an earlier pass
			c.PPID, c.parent, c.Born = 1, f.byPID[1], session.ProcID{}
			f.snap.Exempt[c.ID] = "mosh"
		case f.chance(20):
			c.PPID, c.parent = 1, f.byPID[1] // its first parent is there, or remembered
		case f.chance(20) && c.exemption.exempt:
			dead := session.ProcID{PID: 1 << 21, Start: c.ID.Start}
			c.PPID, c.parent, c.Born = 1, f.byPID[1], dead
			f.snap.Exempt[dead] = "mosh"
		}
	}
}

// TestExemptSpareThemselvesAlone: switched on or off, exemptions take from
// those that end exactly those that they mean.
func TestExemptSpareThemselvesAlone(t *testing.T) {
	c := newClassifier(loginVetoes())
	members := func(f *forest) map[int]bool {
		c.begin(&f.target, &f.snap)
		c.add(0)
		found := map[int]bool{}
		for i, p := range f.snap.Processes {
			if c.rulings[i].member() {
				found[p.ID.PID] = true
			}
		}
		return found
	}
	spared, gone := 0, 0
	for seed := range forests(t, 4000) {
		f := newForest(seed)
		if !f.asLogin() {
			continue
		}
		with := members(f)
		f.target.Exempt, f.snap.Exempt = Exempt{}, nil
		for _, x := range f.trees {
			x.Image = Image{}
		}
		without := members(f)
		for pid := range with {
			if !without[pid] {
				t.Fatalf("seed %d: %d ends only where something is exempt: %+v", seed, pid, f.byPID[pid])
			}
		}
		for pid := range without {
			x := f.byPID[pid]
			meant := x.exemption.exempt || x.exemption.unknown
			switch {
			case with[pid] && meant:
				t.Fatalf("seed %d: %d is exempt and ends: %+v", seed, pid, x)
			case !with[pid] && !meant:
				t.Fatalf("seed %d: %d gains by an exemption: %+v", seed, pid, x)
			case meant:
				spared++
			default:
				gone++
			}
		}
	}
	if spared < 200 || gone < 200 {
		t.Errorf("%d spared, %d ended", spared, gone)
	}
	t.Logf("%d spared, %d ended", spared, gone)
}

// TestJobs: a path that a user can make, or that no batch system does, is no job's.
func TestJobs(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/system.slice/slurmstepd.scope/job_1/step_0/user/task_0":                         "slurm",
		"/system.slice/node7_slurmstepd.scope/job_1":                                      "slurm",
		"/slurm/uid_1000/job_7/step_batch":                                                "slurm",
		"/slurm_node7/uid_1000/job_7":                                                     "slurm",
		"/system.slice/slurmstepd.scope":                                                  "", // where slurmstepd itself may be
		"/system.slice/slurmstepd.scope/system":                                           "",
		"/system.slice/slurmd.service":                                                    "",
		"/user.slice/user-1000.slice/session-4.scope/system.slice/slurmstepd.scope/job_1": "",
		"/system.slice/cron.service/slurmstepd.scope/job_1":                               "",
		"/user.slice/slurm/uid_1000/job_7":                                                "",
		"/slurm":                                                                          "",
		"/slurmer/uid_1":                                                                  "",
		"/pbs_jobs.service/jobs/12.host":                                                  "pbs",
		"/pbs_jobs.service/jobid/12.host":                                                 "pbs",
		"/pbspro.service/jobid/12.host":                                                   "pbs",
		"/pbs_jobs.service/jobs":                                                          "",
		"/pbs_jobs.service":                                                               "",
		"/system.slice/pbs.service":                                                       "",
		"/user.slice/user-500.slice/user@500.service/app.slice/imp-shell-1-fpUt87KFAo.service":    "flux",
		"/user.slice/user-500.slice/user@500.service/imp-shell-1-fpUt87KFAo.service/x":            "flux",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/imp-shell-1-fpUt87KFAo.service":  "", // the user's own
		"/user.slice/user-500.slice/user@501.service/app.slice/imp-shell-1-fpUt87KFAo.service":    "",
		"/user.slice/user-500.slice/user@500.service/app.slice/x/imp-shell-1-fpUt87KFAo.service":  "",
		"/user.slice/user-99999999999.slice/user@99999999999.service/app.slice/imp-shell.service": "",
		"/..": "",
		"":    "",
	} {
		e := fakeExempt(allExempt()...)
		got := ""
		if x := e.of(&Process{Cgroup: path}, 1000); x != nil {
			got = x.name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestServerDirectories(t *testing.T) {
	t.Parallel()
	e := fakeExempt("vscode-server")
	for path, want := range map[string]string{
		"/home/a/.vscode-server/bin/x/node":          ".vscode-server",
		"/data/a/.cursor-server/cli/servers/x/node":  ".cursor-server",
		"/home/a/.vscode-server":                     "", // a file
		"/home/a/vscode-server/node":                 "",
		"/home/a/.vscode-server2/node":               "",
		"/home/a/x.vscode-server/node":               "",
		"/memfd:/.vscode-server/node (deleted)":      ".vscode-server", // which has no link, and so is not asked for
		"/home/a/.my-server/node":                    "",
		"/home/a/.windsurf-server-next/bin/x/server": ".windsurf-server-next",
		"": "",
	} {
		if got := e.server([]byte(path)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
