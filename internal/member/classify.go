package member

import (
	"fmt"
	"syscall"

	"xexit/internal/session"
)

// Classify decides over a snapshot: one Finding for every process that
// belongs to the session or lies within the bound, in the snapshot's order.
// It is pure; Ref is not set.
func Classify(t *Target, s *Snapshot) []Finding {
	c := newClassifier(vetoesFor(t))
	c.begin(t, s)
	c.add(0)
	var found []Finding
	for i, p := range s.Processes {
		if c.reported(i) {
			found = append(found, c.finding(p, &c.rulings[i], c.rulings[i].why.String()))
		}
	}
	return found
}

func vetoesFor(t *Target) []veto {
	if t.Login && IsHookCgroup(t.Entry.Scope) {
		return hookedVetoes()
	}
	if t.Login {
		return loginVetoes()
	}
	return vetoes()
}

// reported: kernel threads, the dead and other people's processes are not,
// unless they belong.
func (c *classifier) reported(i int) bool {
	p, r := c.s.Processes[i], &c.rulings[i]
	scoped := c.t.Login && Within(p.Cgroup, c.t.Entry.Scope) // whosever it is
	return r.belongs() || r.exempt || r.undecided && (p.Far || scoped) || !p.Far && !p.Dead && !p.Kernel && !p.Denied && p.UIDKnown && c.t.Bound.hasUID(p.UID)
}

func (c *classifier) finding(p *Process, r *ruling, text string) Finding {
	f := Finding{
		ID: p.ID, PPID: p.PPID, SID: p.SID, PGID: p.PGID, TTY: p.TTY,
		Comm: p.Comm, State: p.State, UID: p.UID,
		Evidence: r.evidence, Member: r.member(), Undecided: r.undecided, Why: text,
		InScope: Within(p.Cgroup, c.t.Entry.Scope),
	}
	if r.outside {
		f.Unkillable = errOutside(p)
	}
	return f
}

func errOutside(p *Process) error {
	if p.Denied {
		if p.Hidden {
			return fmt.Errorf("process of another user: %w", syscall.EPERM)
		}
		return fmt.Errorf("process of uid %d: %w", p.UID, syscall.EPERM)
	}
	return fmt.Errorf("process of uid %d: %w", p.UID, ErrOutOfBound)
}

// maxDepth bounds a walk up the tree. A snapshot is not taken in one moment,
// so its parents could even form a ring.
const maxDepth = 1 << 16

// ours is the number of our own subreaper in classifier.below; those of
// c.t.Others follow.
const ours = 1

// classifier decides over one snapshot, which may grow. Its memory is used
// again for the next one. The slices run parallel to the processes.
type classifier struct {
	vetoes []veto

	t    *Target
	s    *Snapshot
	owns bool // scope and audit id speak for the session
	sole bool // it is the user's only session, and policy takes all

	shared   []bool       // markers whose value processes of other live sessions have, too
	index    table[int32] // by number, from 1 on
	parent   []int32      // -1: not there
	groups   []cgroup
	below    []int16 // whose subreaper is the nearest above: 0 nobody's, ours, ours+1+k
	inside   []bool  // below the bound's subreaper
	ancestor []bool  // something that points at the session is below
	origin   []bool  // the session's own processes are below
	state    []uint8
	exempt   []spared
	serves   []bool // above a service, and of its own tree
	rulings  []ruling
	stack    []int32
}

const (
	stateNew uint8 = iota
	stateOpen
	stateDone
)

func newClassifier(v []veto) *classifier {
	return &classifier{vetoes: v}
}

// begin starts over with a new snapshot, or the same one read again.
func (c *classifier) begin(t *Target, s *Snapshot) {
	c.t, c.s = t, s
	c.index.clear()
	c.shared = c.shared[:0]
	for range t.Entry.Markers {
		c.shared = append(c.shared, false)
	}
	c.parent, c.groups, c.below = c.parent[:0], c.groups[:0], c.below[:0]
	c.inside, c.ancestor, c.origin = c.inside[:0], c.ancestor[:0], c.origin[:0]
	c.state, c.exempt, c.serves, c.rulings = c.state[:0], c.exempt[:0], c.serves[:0], c.rulings[:0]
}

// add decides over the processes from an index on, which are new in the
// snapshot. Those before keep their rulings.
func (c *classifier) add(from int) {
	processes := c.s.Processes
	c.reserve(len(processes) - from)
	for i := from; i < len(processes); i++ {
		c.index.set(processes[i].ID.PID, int32(i)+1)
		c.parent = append(c.parent, -1)
		c.groups = append(c.groups, parseCgroup(processes[i].Cgroup))
		c.below = append(c.below, 0)
		c.inside = append(c.inside, false)
		c.ancestor = append(c.ancestor, false)
		c.origin = append(c.origin, false)
		c.state = append(c.state, stateNew)
		c.exempt = append(c.exempt, spared{})
		c.serves = append(c.serves, false)
		c.rulings = append(c.rulings, ruling{})
	}
	for i := from; i < len(processes); i++ {
		p := processes[i]
		if j := c.at(p.PPID); j >= 0 && j != i && processes[j].ID.MayBeParentOf(p.ID) {
			c.parent[i] = int32(j)
		}
	}
	for i := from; i < len(processes); i++ {
		c.noteShared(processes[i])
	}
	c.owns = ownsLogin(c.t) && !c.sharesLogin()
	c.sole = c.t.Scope == session.ScopeUser && len(c.t.Others) == 0 && !c.s.Logins.OtherLive(&c.t.Entry)
	for i := from; i < len(processes); i++ {
		p := processes[i]
		if c.isAnchor(p) {
			c.mark(c.origin, i)
			c.mark(c.ancestor, i)
		}
		if c.raw(p)&^session.BySole != 0 {
			c.mark(c.ancestor, i)
		}
	}
	for i := from; c.t.Login && i < len(processes); i++ {
		c.markServing(i)
	}
	for i := from; c.t.Login && i < len(processes); i++ {
		c.exempts(i)
	}
	for i := from; i < len(processes); i++ { // above, all that it goes by is decided
		c.resolve(i)
	}
}

// noteShared: a process of another live session has the value of a marker,
// whether that session was registered with it or not.
func (c *classifier) noteShared(p *Process) {
	if p.Unique == "" {
		return
	}
	for k := range c.t.Others {
		if p.Unique != string(c.t.Others[k].ID) {
			continue
		}
		for m := range c.shared {
			c.shared[m] = c.shared[m] || sameMarker(c.t.Entry.Markers[m], value(p, m))
		}
	}
}

// again decides once more over the processes from an index on.
func (c *classifier) again(from int) {
	c.parent, c.groups, c.below = c.parent[:from], c.groups[:from], c.below[:from]
	c.inside, c.ancestor, c.origin = c.inside[:from], c.ancestor[:from], c.origin[:from]
	c.state, c.exempt, c.serves, c.rulings = c.state[:from], c.exempt[:from], c.serves[:from], c.rulings[:from]
	c.add(from)
}

// sharesLogin: the own processes of another live session are in our login,
// though its entry does not say so.
func (c *classifier) sharesLogin() bool {
	for k := range c.t.Others {
		o := &c.t.Others[k]
		for _, id := range [...]session.ProcID{o.Leader, o.Subreaper, o.Watcher} {
			if i, ok := c.find(id); ok {
				p := c.s.Processes[i]
				if session.SameAudit(p.Audit, c.t.Entry.Audit) || Within(p.Cgroup, c.t.Entry.Scope) {
					return true
				}
			}
		}
	}
	return false
}

// at is the index of a number; -1: there is none.
func (c *classifier) at(pid int) int { return int(c.index.get(pid)) - 1 }

func (c *classifier) find(id session.ProcID) (int, bool) {
	i := c.at(id.PID)
	return i, i >= 0 && !id.IsZero() && c.s.Processes[i].ID == id
}

// isAnchor: the session's own processes, wherever they are.
func (c *classifier) isAnchor(p *Process) bool {
	e := &c.t.Entry
	if p.ID == e.Watcher || p.ID == e.Leader || p.ID == e.Subreaper {
		return true
	}
	for _, id := range c.t.Self {
		if p.ID == id {
			return true
		}
	}
	return false
}

// mark marks what is above process i.
func (c *classifier) mark(marks []bool, i int) {
	for i = int(c.parent[i]); i >= 0 && !marks[i]; i = int(c.parent[i]) {
		marks[i] = true
	}
}

// resolve decides over process i, after all above it.
func (c *classifier) resolve(i int) {
	c.stack = c.stack[:0]
	for i >= 0 && c.state[i] == stateNew {
		c.state[i] = stateOpen // met again: a ring, which has no top
		c.stack = append(c.stack, int32(i))
		i = int(c.parent[i])
	}
	for k := len(c.stack) - 1; k >= 0; k-- {
		i := int(c.stack[k])
		c.place(i)
		c.rulings[i] = c.rule(i)
		c.state[i] = stateDone
	}
}

// place finds out below which subreapers process i is.
func (c *classifier) place(i int) {
	parent := int(c.parent[i])
	if parent < 0 {
		return
	}
	q := c.s.Processes[parent]
	c.below[i], c.inside[i] = c.below[parent], c.inside[parent]
	if !q.ID.IsZero() && q.ID == c.t.Bound.Subreaper {
		c.inside[i] = true
	}
	if q.ID == c.t.Entry.Subreaper {
		c.below[i] = ours
	}
	for k := range c.t.Others {
		if q.ID == c.t.Others[k].Subreaper {
			c.below[i] = int16(ours + 1 + k)
		}
	}
}

// descends: the kernel's parent, or the one that it had when it was first
// seen, belongs to the session, or is the session's subreaper.
func (c *classifier) descends(i int) bool {
	p, parent := c.s.Processes[i], int(c.parent[i])
	if parent >= 0 {
		q := c.s.Processes[parent]
		if c.hands(parent) || q.ID == c.t.Entry.Subreaper {
			return true
		}
	}
	if p.Born.IsZero() {
		return false
	}
	if _, ok := c.s.Past[p.Born]; ok {
		return true
	}
	born, ok := c.find(p.Born)
	return ok && c.hands(born)
}

// hands reports whether what descends from process i belongs because of that.
func (c *classifier) hands(i int) bool {
	return c.state[i] == stateDone && c.rulings[i].belongs() && !c.rulings[i].strays(c.s.Processes[i])
}

// rule decides over process i, whose parent is decided.
func (c *classifier) rule(i int) ruling {
	p := c.s.Processes[i]
	if p.Dead || p.Kernel {
		return ruling{why: why{rule: whyKernel}}
	}
	if p.Known != 0 {
		return ruling{evidence: p.Known, why: c.reason(p, p.Known, int(c.parent[i]))}
	}
	points := c.raw(p)
	if c.owns {
		points |= c.stray(i)
	}
	if c.descends(i) {
		points |= session.ByDescent
	}
	if points == 0 {
		return c.explain(i)
	}
	left, first := points, ruling{}
	for k := range c.vetoes {
		v := &c.vetoes[k]
		if left&v.strikes == 0 {
			continue
		}
		w, hit := v.says(c, i)
		if !hit {
			continue
		}
		if v.exempt {
			return ruling{evidence: left, exempt: true, why: w}
		}
		if v.outside {
			return ruling{evidence: left, outside: true, why: w}
		}
		left &^= v.strikes
		if first.why.rule == whyNone {
			first = ruling{why: w, undecided: v.undecided}
		}
		if left == 0 {
			return first
		}
	}
	return ruling{evidence: left, why: c.reason(p, left, int(c.parent[i]))}
}

// explain says why a process that nothing points from is spared.
func (c *classifier) explain(i int) ruling {
	p := c.s.Processes[i]
	if p.Far {
		return c.explainFar(i)
	}
	if c.t.Login && !p.Hidden {
		return ruling{why: why{rule: whyOutOfLogin}}
	}
	for k := range c.vetoes {
		v := &c.vetoes[k]
		if v.outside || v.strikes&session.ByMarker == 0 || v.strikes&session.ByDescent == 0 && v.strikes != environ {
			continue
		}
		if w, hit := v.says(c, i); hit {
			return ruling{undecided: p.Hidden && v.undecided, why: w}
		}
	}
	switch {
	case p.Hidden:
		return ruling{undecided: true, why: why{rule: whyHidden}}
	case p.ID.Start < c.t.Entry.Start:
		return ruling{why: why{rule: whyBefore}}
	case p.Env == EnvUnknown:
		return ruling{undecided: true, why: why{rule: whyUnknown}}
	case p.Env == EnvDenied:
		return ruling{undecided: true, why: why{rule: whyUnreadable}}
	case session.SameAudit(p.Audit, c.t.Entry.Audit):
		return ruling{undecided: true, why: why{rule: whySameLogin}}
	}
	for k, m := range c.t.Entry.Markers {
		if value(p, k) != "" {
			return ruling{why: why{rule: whyOtherValue, text: m.Name}}
		}
	}
	return ruling{undecided: true, why: why{rule: whyNothing}}
}

// atHome reports whether p is in the very cgroup that the session's own
// processes live in.
func (c *classifier) atHome(p *Process) bool {
	for _, home := range c.s.Home {
		if p.Cgroup == home && home != "" {
			return true
		}
	}
	return false
}
