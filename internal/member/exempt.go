package member

import (
	"slices"
	"strconv"
	"strings"

	"xexit/internal/session"
)

// What root's end of a whole login spares although it is the login's: programs
// that are made to outlive one, jobs of batch systems. A process is recognised
// by what the kernel holds of it, never by a name that it has given itself:
//
//	program  executes a file that only root can have put where it is, compared
//	         by device and inode, and so whatever is mounted over what in the
//	         process's own mounts. Not in a user namespace of the user's making:
//	         there the kernel lets him choose what his executable is called
//	server   executes a file of the user's own, below a directory that has a
//	         certain name. Nothing keeps him from putting anything there
//	master   of ssh: a program that is asked by others of its kind, at a unix
//	         socket that it listens at
//	job      is in a control group that only the batch system can have put it
//	         into: the path is compared from the root of the hierarchy
//
// What descends from such a process is spared with it: it is of no use alone.
// So whoever wants to stay can do so below a program that starts what he says;
// that is the price, and why each can be switched off.

// exemption is one of them.
type exemption struct {
	name     string
	programs []string // paths of executables
	servers  []string // names of directories
	job      func(path string, uid uint32) bool

	// detached: only the leader of a session of its own, without a terminal.
	detached bool
	// listens: only who has a unix socket that listens.
	listens bool
	// anyUsers: also in another user namespace, where such programs live.
	anyUsers bool
}

// exemptions is all of them, by the names that xexit.toml(5) has for them.
func exemptions() []exemption {
	return []exemption{
		{name: "mosh", programs: []string{"/usr/bin/mosh-server", "/usr/local/bin/mosh-server"}},
		{name: "ssh-master", detached: true, listens: true, programs: []string{"/usr/bin/ssh", "/usr/local/bin/ssh"}},
		{name: "vscode-server", servers: []string{
			".vscode-server", ".vscode-server-insiders", ".vscode-server-oss", ".vscodium-server",
			".vscodium-server-insiders", ".cursor-server", ".windsurf-server", ".windsurf-server-next",
		}},
		{name: "slurm", job: isSlurmJob},
		{name: "pbs", job: isPBSJob},
		{name: "flux", job: isFluxJob},
		{name: "containers", anyUsers: true, programs: []string{
			"/usr/bin/conmon", "/usr/libexec/podman/conmon", "/usr/local/bin/conmon", "/usr/local/libexec/podman/conmon",
			"/usr/bin/catatonit", "/usr/libexec/podman/catatonit", "/usr/libexec/catatonit/catatonit",
			"/usr/bin/slirp4netns", "/usr/bin/pasta", "/usr/bin/pasta.avx2", "/usr/bin/fuse-overlayfs",
			"/usr/lib/podman/rootlessport", "/usr/libexec/podman/rootlessport",
			"/usr/lib/podman/aardvark-dns", "/usr/libexec/podman/aardvark-dns",
			"/usr/bin/rootlesskit", "/usr/local/bin/rootlesskit", "/usr/bin/containerd-shim-runc-v2",
		}},
		{name: ServicesExemption}, // by what the system has on file: see readService
	}
}

// File is a file, whatever its name.
type File struct{ Dev, Ino uint64 }

// Image is what a process executes, as far as an exemption asks.
type Image struct {
	File
	Server  string // which name of a directory it is below, if it is the user's own; "": none
	Foreign bool   // the process is in another user namespace than we are
	Listens bool   // it has a unix socket that listens, where an exemption asks for that
	Unknown bool   // it could not be read
}

// Exempt says what is spared. The zero value is nothing.
type Exempt struct {
	names    []string
	programs map[File]*exemption
	servers  map[string]*exemption
	jobs     []*exemption
}

// NewExempt makes an Exempt of the exemptions that are switched on, by their
// names. executable finds the file behind a path, and false where there is
// none that only root can have put there.
func NewExempt(names []string, executable func(path string) (File, bool)) Exempt {
	e := Exempt{programs: map[File]*exemption{}, servers: map[string]*exemption{}}
	for _, x := range exemptions() {
		for _, name := range names {
			if name == x.name {
				e.add(&x, executable)
			}
		}
	}
	return e
}

func (e *Exempt) add(x *exemption, executable func(path string) (File, bool)) {
	e.names = append(e.names, x.name)
	for _, path := range x.programs {
		if f, ok := executable(path); ok {
			e.programs[f] = x
		}
	}
	for _, dir := range x.servers {
		e.servers[dir] = x
	}
	if x.job != nil {
		e.jobs = append(e.jobs, x)
	}
}

// Names are those that are switched on.
func (e *Exempt) Names() []string { return e.names }

// reads reports whether executables have to be looked at.
func (e *Exempt) reads() bool { return len(e.programs) > 0 || len(e.servers) > 0 }

// server is the directory that a path goes through and that makes it a
// server's, "" if none does.
func (e *Exempt) server(path []byte) string {
	for rest := string(path); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if _, ok := e.servers[part]; ok && rest != "" {
			return part
		}
	}
	return ""
}

// of is the exemption that holds for a process by what it is itself; nil: none.
// uid is the user whose login ends.
func (e *Exempt) of(p *Process, uid uint32) *exemption {
	for _, x := range e.jobs {
		if x.job(p.Cgroup, uid) {
			return x
		}
	}
	if p.UID != uid || !p.UIDKnown || p.Far || p.Dead || p.Image.Unknown {
		return nil
	}
	x := e.programs[p.Image.File]
	if x == nil {
		x = e.servers[p.Image.Server]
	}
	if x == nil || x.detached && !p.detached() || x.listens && !p.Image.Listens || p.Image.Foreign && !x.anyUsers {
		return nil
	}
	return x
}

// detached: it leads a session of its own, without a terminal.
func (p *Process) detached() bool { return p.SID == p.ID.PID && p.TTY == 0 }

// isJob: of any batch system, be it exempt or not.
func isJob(path string, uid uint32) bool {
	return isSlurmJob(path, uid) || isPBSJob(path, uid) || isFluxJob(path, uid)
}

// isSlurmJob: /system.slice/slurmstepd.scope/job_7/step_0/…, the scope with the
// node's name before it where several slurmd share a machine; by Slurm's plugin
// for version 1 /slurm/uid_1000/job_7/…, with the node's name behind slurm_.
func isSlurmJob(path string, _ uint32) bool {
	if rest, ok := strings.CutPrefix(path, "/system.slice/"); ok {
		scope, job, _ := strings.Cut(rest, "/")
		return (scope == "slurmstepd.scope" || strings.HasSuffix(scope, "_slurmstepd.scope")) && strings.HasPrefix(job, "job_")
	}
	top, job, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return (top == "slurm" || strings.HasPrefix(top, "slurm_")) && strings.HasPrefix(job, "uid_")
}

// isPBSJob: /pbs_jobs.service/jobs/7.server, by older hooks jobid/7.server and
// pbspro.service.
func isPBSJob(path string, _ uint32) bool {
	for _, top := range []string{"/pbs_jobs.service/", "/pbspro.service/"} {
		if rest, ok := strings.CutPrefix(path, top); ok {
			kind, job, _ := strings.Cut(rest, "/")
			return (kind == "jobs" || kind == "jobid") && job != ""
		}
	}
	return false
}

// isFluxJob: Flux has its own user's service manager run the jobs of others:
// /user.slice/user-500.slice/user@500.service/app.slice/imp-shell-0-fXYZ.service.
// Below his own manager a user can make any name.
func isFluxJob(path string, uid uint32) bool {
	rest, ok := strings.CutPrefix(path, "/user.slice/user-")
	if !ok {
		return false
	}
	id, rest, _ := strings.Cut(rest, ".slice/")
	owner, err := strconv.ParseUint(id, 10, 32)
	if rest, ok = strings.CutPrefix(rest, "user@"+id+".service/"); err != nil || !ok || uint32(owner) == uid {
		return false
	}
	unit, _, _ := strings.Cut(strings.TrimPrefix(rest, "app.slice/"), "/")
	return strings.HasPrefix(unit, "imp-shell-") && strings.HasSuffix(unit, ".service")
}

// isExempt: it is spared by what it is, or as a descendant of what is.
func isExempt(c *classifier, i int) (why, bool) {
	switch x := &c.exempt[i]; {
	case x.name == "":
		return why{}, false
	case x.from != 0:
		return why{rule: whyExemptChild, text: x.name, number: x.from}, true
	case x.name == ServicesExemption:
		return why{rule: whyService, text: c.s.Processes[i].Service.File}, true
	default:
		return why{rule: whyExempt, text: x.name}, true
	}
}

// hasUnknownImage: it may be exempt.
func hasUnknownImage(c *classifier, i int) (why, bool) {
	return why{rule: whyUnknownImage}, c.s.Processes[i].Image.Unknown
}

// unlessJob: what a job runs in is not told by whether it is a service's. Where
// jobs are not exempt it counts what they carry of the login, its audit id.
func unlessJob(says func(c *classifier, i int) (why, bool)) func(c *classifier, i int) (why, bool) {
	return func(c *classifier, i int) (why, bool) {
		if isJob(c.s.Processes[i].Cgroup, c.t.Bound.UID) {
			return why{}, false
		}
		return says(c, i)
	}
}

// spared is the exemption of one process: its name, and the parent that it has
// it from, 0 for one of its own.
type spared struct {
	name  string
	from  int
	state uint8
}

// exempts decides whether process i is exempt: by itself, or by the parent that
// it has or had, wherever in the snapshot he is.
func (c *classifier) exempts(i int) *spared {
	x := &c.exempt[i]
	if x.state != stateNew {
		return x // met again while open: a ring, which has no top
	}
	x.state = stateOpen
	p := c.s.Processes[i]
	if found := c.t.Exempt.of(p, c.t.Bound.UID); found != nil && !p.Kernel {
		x.name = found.name
	}
	if p.Service.File != "" || c.serves[i] {
		x.name = ServicesExemption
	}
	if x.name == "" {
		x.name = c.s.Exempt[p.ID] // what it has become since is as good as its child
	}
	inherit := func(name string, from session.ProcID) {
		if x.name == "" && name != "" {
			x.name, x.from = name, from.PID
		}
	}
	if parent := int(c.parent[i]); x.name == "" && parent >= 0 {
		inherit(c.exempts(parent).name, c.s.Processes[parent].ID)
	}
	if x.name == "" && !p.Born.IsZero() {
		inherit(c.s.Exempt[p.Born], p.Born)
		if born, ok := c.find(p.Born); ok {
			inherit(c.exempts(born).name, p.Born)
		}
	}
	x.state = stateDone
	return x
}

// readImage reads what a process executes, as far as an exemption depends on
// it. What cannot be read is noted: it may be exempt.
func (f *Finder) readImage(r *record) {
	r.Image = Image{}
	e := &f.t.Exempt
	if !f.t.Login || !e.reads() || r.UID != f.t.Bound.UID || r.Dead {
		return
	}
	image, err := f.fs.Image(r.ID.PID)
	if err == nil && !image.Deleted {
		r.Image.File = File{image.Dev, image.Ino}
		x := e.programs[r.Image.File]
		if x == nil && len(e.servers) > 0 && image.Owner == r.UID {
			var path []byte
			if path, err = f.fs.ImagePath(r.ID.PID); err == nil {
				r.Image.Server = e.server(path)
				x = e.servers[r.Image.Server]
			}
		}
		if x != nil && !x.anyUsers && err == nil {
			var ours bool
			ours, err = f.fs.SharesUsers(r.ID.PID)
			r.Image.Foreign = !ours
		}
		// Few ask for this, and it is the dearest question.
		if x != nil && x.listens && r.detached() && err == nil {
			r.Image.Listens, err = f.fs.ListensUnix(r.ID.PID)
		}
	}
	if err != nil {
		r.Image = Image{Unknown: true}
		f.now.Unknown++
	}
}

// dropAdopted leaves those to Full, of those that are in the scope, who descend
// from somebody outside who is exempt, or may be. Nobody comes into a scope but
// by his birth there: such a parent has left it, or adopted the child.
func (f *Finder) dropAdopted() {
	if len(f.t.Exempt.names) == 0 {
		return
	}
	for n := -1; n != len(f.order); {
		n = len(f.order)
		inside := make(map[int]struct{}, n)
		for _, r := range f.order {
			inside[r.ID.PID] = struct{}{}
		}
		f.order = slices.DeleteFunc(f.order, func(r *record) bool {
			if _, ok := inside[r.PPID]; ok {
				return false
			}
			return f.belowExempt(r.PPID)
		})
		f.partial = f.partial || len(f.order) < n
	}
}

// belowExempt reports whether a process or one above it may be exempt.
func (f *Finder) belowExempt(pid int) bool {
	for range maxDepth {
		if pid <= 1 {
			return false
		}
		var r record
		if err := f.fs.ReadStat(pid, &r.stat); err != nil {
			return true
		}
		r.copyStat()
		if f.readUID(&r, true) != nil || f.readNear(&r) != nil || r.Image.Unknown || f.t.Exempt.of(&r.Process, f.t.Bound.UID) != nil {
			return true
		}
		pid = r.PPID
	}
	return true
}
