package member

import (
	"fmt"
	"math/rand/v2"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// A forest is one machine's processes, made by chance, with the truth about
// each: what started it. Evidence gets lost (env -i, not dumpable, overwritten,
// orphaned) and is forged: a process writes what it likes into its own
// environment, or a service copies that of a session.
//
// One thing nobody can tell: a process that carries another session's unique
// marker although nothing else contradicts, as in two displays of one login.
// So a stranger forges this session's evidence only where he differs in
// something that he cannot forge (distinct). And what has lost every mark and
// is orphaned to the ending session's own subreaper is that session's.
type forest struct {
	r *rand.Rand

	systemd, elogind, audit bool
	uid                     uint32

	target Target
	snap   Snapshot
	trees  []*tree
	byPID  map[int]*tree

	clock, pid, logins, audits int
	a                          *world
	scoped                     bool // the next session is registered with its scope
}

// tree is a process and the truth about it.
type tree struct {
	Process
	parent    *tree
	truth     int // index of the session that started it; none: no session's
	kind      kind
	subreaper bool
	login     int
	exemption truth
}

type kind int

const (
	ordinary  kind = iota
	untouched      // never to be ended, whatever is asked
	alien          // not of any login: at, cron, batch, services, other logins
	shared         // below the user's service manager: only with his last session
	delegated      // the login's own, in a scope of its own
	earlier        // of the user, from before the session
)

const none = -1

// world is one session and its processes.
type world struct {
	index   int
	entry   registry.Entry
	env     envOf
	members []*tree
	login   int
}

type envOf struct {
	unique string
	values [3]string // LTSP_CLIENT_HOSTNAME, XDG_SESSION_ID, DISPLAY
}

func (f *forest) chance(percent int) bool { return f.r.IntN(100) < percent }

func newForest(seed uint64) *forest {
	f := &forest{r: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), byPID: map[int]*tree{}, uid: 1000}
	f.systemd = f.chance(50)
	f.elogind = !f.systemd && f.chance(30)
	f.audit = f.chance(50)
	if f.chance(10) {
		f.uid = 0
	}
	f.populate()
	if f.uid != 0 && f.chance(50) {
		f.deny()
	}
	if f.chance(20) {
		f.hide()
	}
	for _, t := range f.trees {
		f.snap.Processes = append(f.snap.Processes, &t.Process)
	}
	f.r.Shuffle(len(f.snap.Processes), func(i, j int) {
		p := f.snap.Processes
		p[i], p[j] = p[j], p[i]
	})
	return f
}

func (f *forest) tick() uint64 {
	f.clock += f.r.IntN(3)
	return uint64(1000 + f.clock)
}

func (f *forest) spawn(parent *tree, uid uint32) *tree {
	f.pid += 1 + f.r.IntN(3)
	t := &tree{parent: parent, truth: none, login: none}
	t.ID = session.ProcID{PID: f.pid, Start: f.tick()}
	t.UID, t.UIDKnown, t.Audit = uid, true, session.NoAudit
	t.Values = make([]string, 3)
	if parent != nil {
		t.PPID, t.Born = parent.ID.PID, parent.ID
		t.Cgroup, t.Audit, t.truth, t.login = parent.Cgroup, parent.Audit, parent.truth, parent.login
		t.kind = parent.kind
		t.Env, t.Unique = parent.Env, parent.Unique
		copy(t.Values, parent.Values)
	}
	if t.ID.PID == 1 {
		t.Born = session.ProcID{}
	}
	f.trees = append(f.trees, t)
	f.byPID[t.ID.PID] = t
	return t
}

func (t *tree) set(e envOf) {
	t.Env, t.Unique = EnvRead, e.unique
	copy(t.Values, e.values[:])
}

func (t *tree) nearestReaper() *tree {
	for p := t.parent; p != nil; p = p.parent {
		if p.subreaper || p.parent == nil {
			return p
		}
	}
	return nil
}

func (t *tree) below(id session.ProcID) bool {
	for p := t.parent; p != nil; p = p.parent {
		if p.ID == id {
			return true
		}
	}
	return false
}

// orphan does what the kernel does when a parent exits.
func (f *forest) orphan(t *tree) {
	t.parent = t.nearestReaper()
	t.PPID = t.parent.ID.PID
	if f.chance(50) {
		t.Born = session.ProcID{} // never seen with its first parent
	}
	if f.a != nil && t.parent.ID == f.a.entry.Subreaper && t.Unique == "" {
		t.truth, t.kind = 0, ordinary
	}
}

// daemon is a process of root's, in a service of the system.
func (f *forest) daemon(init *tree, name string) *tree {
	t := f.spawn(init, 0)
	t.Comm, t.kind = name, untouched
	if f.systemd {
		t.Cgroup = "/system.slice/" + name + ".service"
	}
	return t
}

// open opens a login below a daemon: root's worker and the user's shell.
func (f *forest) open(below *tree) (shell *tree) {
	f.logins++
	worker := f.spawn(below, 0)
	worker.set(envOf{})
	worker.kind, worker.truth, worker.login = untouched, none, f.logins
	if f.audit {
		f.audits++
		worker.Audit = uint32(f.audits)
	}
	switch {
	case f.systemd:
		worker.Cgroup = fmt.Sprintf("/user.slice/user-%d.slice/session-%d.scope", f.uid, f.logins)
	case f.elogind:
		worker.Cgroup = fmt.Sprintf("/%d", f.logins)
	}
	shell = f.spawn(worker, f.uid)
	shell.set(envOf{values: [3]string{"", fmt.Sprint(f.logins), ""}})
	return shell
}

// begin registers a session in the login of from.
func (f *forest) begin(from *tree, host string) *world {
	w := &world{index: len(f.target.Others), login: from.login}
	if f.a != nil {
		w.index++
	}
	display := fmt.Sprintf(":%d", 10+w.index)
	w.env = envOf{
		unique: fmt.Sprintf("%08d-0000-4000-8000-000000000000", w.index+1),
		values: [3]string{host, from.Values[1], display},
	}
	w.entry = registry.Entry{
		ID: session.ID(w.env.unique), Marked: true, Display: display, Audit: from.Audit, UID: f.uid,
		Start: f.tick(), Phase: session.PhaseWatching,
	}
	for i, name := range []string{"LTSP_CLIENT_HOSTNAME", "XDG_SESSION_ID", "DISPLAY"} {
		if w.env.values[i] != "" && (i == 2 || f.chance(70)) {
			w.entry.Markers = append(w.entry.Markers, session.Marker{Name: name, Value: w.env.values[i]})
		}
	}
	if (f.systemd || f.elogind) && (f.scoped || f.chance(80)) {
		w.entry.Scope = from.Cgroup
	}
	xexit := f.spawn(from, f.uid)
	xexit.truth, xexit.kind = w.index, untouched
	if f.chance(50) {
		xexit.subreaper = true
		w.entry.Subreaper = xexit.ID
		from = xexit
	} else {
		f.orphan(xexit)
		xexit.truth, xexit.kind = w.index, untouched
	}
	w.entry.Watcher = xexit.ID
	leader := f.spawn(from, f.uid)
	leader.set(w.env)
	leader.truth, leader.kind = w.index, ordinary
	w.entry.Leader = leader.ID
	w.members = []*tree{leader}
	return w
}

// grow starts one more process in a session, from one of its own.
func (f *forest) grow(w *world) *tree {
	t := f.spawn(w.members[f.r.IntN(len(w.members))], f.uid)
	f.lose(t)
	if f.chance(10) {
		f.forge(t, w)
	}
	if f.chance(30) {
		f.orphan(t)
	}
	if f.systemd && w.index == 0 && f.chance(5) {
		t.kind = delegated
		t.Cgroup = fmt.Sprintf("/user.slice/user-%d.slice/user@%d.service/app.slice/run-r%d.scope", f.uid, f.uid, t.ID.PID)
		return t // and has no children: they would be like it
	}
	w.members = append(w.members, t)
	return t
}

func (f *forest) lose(t *tree) {
	switch f.r.IntN(10) {
	case 0:
		t.set(envOf{})
	case 1:
		t.Unique = ""
	case 2:
		t.Values[f.r.IntN(3)] = ""
	case 3:
		t.Unique = ""
		t.Values[f.r.IntN(3)], t.Values[f.r.IntN(3)] = "", ""
	case 4:
		t.set(envOf{})
		t.Env = EnvDenied
	}
}

// distinct: the process differs from the ending session in something that it
// cannot forge.
func (f *forest) distinct(t *tree) bool {
	a := f.a.entry
	if f.audit && t.Audit != session.NoAudit && t.Audit != a.Audit {
		return true
	}
	if f.systemd && t.login != f.a.login && t.login != none {
		return true
	}
	for p := t.parent; p != nil; p = p.parent {
		if p.subreaper {
			return p.ID != a.Subreaper
		}
	}
	return false
}

// forge writes what it likes into the environment of t, which w has started.
func (f *forest) forge(t *tree, w *world) {
	if w.index == 0 {
		t.Unique = fmt.Sprintf("%08d-0000-4000-8000-000000000000", 1+f.r.IntN(9))
		t.Values[f.r.IntN(3)] = "forged"
		return
	}
	if f.distinct(t) {
		t.set(f.a.env)
		if f.chance(50) {
			t.Unique = ""
		}
		return
	}
	t.Values[f.r.IntN(3)] = f.a.env.values[f.r.IntN(3)] + "-b"
}
