package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"xexit/internal/linux"
	"xexit/internal/proc"
	"xexit/internal/session"
)

// A process that forks and exits all the time is dead before a pass over all
// others is over, and its child is not known yet. So whoever wants to stop such
// ones is told of each the moment that it is seen, long before its environment
// has been read: reading it may take longer than such a process lives, since it
// waits for one that is forking. A stopped one can be read at leisure, and is
// let go on if it turns out not to belong.
//
// That is done only to what is first seen in this very pass and very likely
// belongs: it descends from a member, or is in a Unix session (setsid(2)) all
// of whose processes were members in the pass before, or below the session's
// subreaper; and it lives where members live. Of such a Unix session the whole
// process group is stopped with it. What is decided later, and what is ended, is
// not touched by it.
//
// Who is kept from the processor by five hundred others cannot even list them:
// see sound.
type hunt struct {
	seize   func(ref *proc.Ref, pgid int) (one, group bool)
	release func(*proc.Ref)
	starved bool // seize those only who keep the processor from us

	reaper int             // number of the session's subreaper; 0: none, or it is dead
	hosts  bool            // another session was started below it
	unixes map[int]bool    // Unix sessions: all in reach are members
	groups map[string]bool // control groups of members
	packs  map[int]bool    // process groups that were stopped
	chased int             // last number given before the last listing

	ctx     context.Context //nolint:containedctx // the pass's: a visit has none
	began   time.Time       // the pass, and what we had used of processors then
	used    time.Duration
	anchors map[int]bool // Unix sessions of xexit's and the sessions' own processes; nil: not read yet
	sounded map[int]int  // how often, by process group
	sounds  int          // all of them
}

// SeizeBy has seize called for each process that very likely is a member, as
// soon as it is seen, with its process group if all in that very likely are, and
// else with 0; and release for those that seize has stopped, one by one or with
// their group, and that turn out not to be members. Both with a reference that is
// verified. Of each large process group of members that the last pass has found
// one is told of at once. If starved is set nobody is, but those who keep the
// processor from us. A nil seize ends that. The functions signal the process, and
// do not keep the reference after release.
func (f *Finder) SeizeBy(seize func(ref *proc.Ref, pgid int) (one, group bool), release func(*proc.Ref), starved bool) {
	f.hunt = hunt{seize: seize, release: release, starved: starved, packs: map[int]bool{}}
	if seize == nil || starved || f.pass == 0 {
		return
	}
	f.beginHunt()
	many := map[int]int{}
	for _, r := range f.order {
		if r.Known == 0 || r.ref == nil || r.ref.FD() < 0 || !f.hunt.unixes[r.SID] || f.hunt.hosts {
			continue
		}
		if many[r.PGID]++; many[r.PGID] == manyInGroup {
			f.seize(r, r.ref)
		}
	}
}

// manyInGroup is how many known members make a process group one that is worth
// being stopped before anybody is looked at.
const manyInGroup = 32

// all reports whether everybody is to be seized who very likely is a member.
func (h *hunt) all() bool { return h.seize != nil && !h.starved }

// beginHunt draws from the pass before who very likely is a member.
func (f *Finder) beginHunt() {
	h := &f.hunt
	if h.seize == nil {
		return
	}
	h.began, h.anchors, h.sounded, h.sounds = time.Now(), nil, map[int]int{}, 0
	h.used, _ = linux.ProcessorTime() // 0: we seem to have used more
	h.unixes, h.groups, h.reaper = map[int]bool{}, map[string]bool{}, 0
	id := f.t.Entry.Subreaper
	if r := f.records.get(id.PID); !id.IsZero() && r != nil && r.ID == id {
		h.reaper = id.PID
		h.groups[r.Cgroup] = true
	}
	for _, r := range f.records.all() {
		if r.Far || r.Kernel || r.Denied || r.Dead {
			continue
		}
		if ours, met := h.unixes[r.SID]; !met || ours {
			switch f.placed(r) {
			case placedOurs:
				h.unixes[r.SID] = true
			case placedElsewhere:
				h.unixes[r.SID] = false
			}
		}
		if r.Known != 0 {
			h.groups[r.Cgroup] = true
		}
	}
	h.hosts = f.class.t != nil && f.class.hostsOther()
}

// placement is where in the tree a process of the pass before is.
type placement int

const (
	placedNowhere placement = iota // it has died, or there was no time for its environment
	placedOurs
	placedElsewhere
)

// placed tells members, and those that descend from the session's subreaper and
// may be members, from others. What forks all the time has no time for having its
// environment read, and says nothing of the others of its Unix session then. Of
// such ones many have lost the parent with whom they were read.
func (f *Finder) placed(r *record) placement {
	if r.Known != 0 {
		return placedOurs
	}
	unread := r.Env == EnvUnknown
	for range maxDepth {
		parent := f.records.get(r.PPID)
		if parent == nil {
			now, err := f.fs.Stat(r.ID.PID)
			if err != nil || now.ID() != r.ID || now.Dead() {
				return placedNowhere
			}
			parent = f.records.get(now.PPID)
		}
		switch {
		case f.hunt.reaper == 0 || parent == nil || !parent.ID.MayBeParentOf(r.ID):
			if unread {
				return placedNowhere
			}
			return placedElsewhere
		case parent.ID.PID == f.hunt.reaper:
			return placedOurs
		}
		r = parent
	}
	return placedElsewhere
}

// pursue seizes a process that was just read, if it very likely is a member.
func (f *Finder) pursue(r *record) {
	h := &f.hunt
	switch {
	case h.seize == nil || r.held == nil || !f.mayBeOurs(r):
	case !h.starved && f.likely(r):
		if r.held.Signal(0) == nil {
			f.seize(r, r.held)
		}
	case f.sound(r):
		h.unixes[r.SID] = true
		f.seize(r, r.held)
	}
}

// Somebody is starved who has looked for so long, and had less than this share of
// a processor meanwhile.
const (
	starvedAfter = 250 * time.Millisecond
	starvedShare = 8
)

func (h *hunt) isStarved() bool {
	wall := time.Since(h.began)
	if wall < starvedAfter {
		return false
	}
	used, err := linux.ProcessorTime()
	return err == nil && used-h.used < wall/starvedShare
}

// Soundings of a process group, and of all in a pass: each may wait for a process
// that is forking.
const (
	mostSounded   = 2
	mostSoundsIn  = 16
	soundPatience = 2 * time.Second
)

// sound reads the environment of one that was just seen before the others are
// listed, if we are starved: whether it has the session's own marker, so that its
// process group can be stopped, which takes a dozen calls instead of ten for each
// in it. Not in a Unix session that some session's own processes, or ours, are
// in: those are no members.
func (f *Finder) sound(r *record) bool {
	h := &f.hunt
	if h.packs[r.PGID] || h.sounded[r.PGID] >= mostSounded || h.sounds >= mostSoundsIn || !f.short(h) {
		return false
	}
	if h.anchors == nil {
		h.anchors = f.anchorSessions()
	}
	if h.anchors[r.SID] {
		return false
	}
	h.sounded[r.PGID]++
	h.sounds++
	ctx, done := atLeast(h.ctx, soundPatience)
	defer done()
	job, n, err := f.env.read(ctx, []*record{r}, soundPatience)
	if err != nil {
		return false
	}
	if n == 0 {
		r.blocked = job
		return false
	}
	item := &job.items[0]
	return item.err == nil && item.unique == string(f.t.Entry.ID) && r.held.Signal(0) == nil
}

// anchorSessions are the Unix sessions of the sessions' own processes. One that is
// dead may have given a session its number.
func (f *Finder) anchorSessions() map[int]bool {
	found := map[int]bool{}
	add := func(ids ...session.ProcID) {
		for _, id := range ids {
			found[id.PID] = true
			if s, err := f.fs.Stat(id.PID); err == nil && s.ID() == id {
				found[s.SID] = true
			}
		}
	}
	add(f.t.Self...)
	add(f.t.Entry.Watcher, f.t.Entry.Leader, f.t.Entry.Subreaper)
	for i := range f.t.Others {
		o := &f.t.Others[i]
		add(o.Watcher, o.Leader, o.Subreaper)
	}
	return found
}

// seize has one stopped, and where all of its Unix session very likely are
// members its process group: a group is within one session (setpgid(2)).
func (f *Finder) seize(r *record, ref *proc.Ref) {
	pack := 0
	if f.hunt.unixes[r.SID] && !f.hunt.hosts {
		pack = r.PGID
	}
	one, group := f.hunt.seize(ref, pack)
	r.seized = one
	if group {
		f.hunt.packs[pack] = true
	}
}

// freePacks lets go on who was stopped with his process group and is none of
// ours: he came to be in it since the pass before.
func (f *Finder) freePacks() {
	if f.hunt.seize == nil || len(f.hunt.packs) == 0 {
		return
	}
	for i, r := range f.order {
		judged := i < len(f.class.rulings)
		if !f.hunt.packs[r.PGID] || r.seized || r.Dead || r.Denied || r.Known != 0 || judged && f.class.rulings[i].member() {
			continue
		}
		if ref, err := f.fs.Open(r.ID.PID); err == nil {
			if ref.ID() == r.ID {
				f.hunt.release(ref)
			}
			_ = ref.Close()
		}
	}
}

// mayBeOurs is never said of a login's processes, which a frozen group holds, and
// some of which are exempt by what they execute.
func (f *Finder) mayBeOurs(r *record) bool {
	h := &f.hunt
	if f.t.Login || r.Far || r.Dead || r.Kernel || r.Denied || r.Hidden || f.isSelf(r) {
		return false
	}
	if r.Audit != session.NoAudit && !session.SameAudit(r.Audit, f.t.Entry.Audit) {
		return false
	}
	return h.groups[r.Cgroup] || slices.Contains(f.snap.Home, r.Cgroup)
}

// likely: where it is in the tree says that it belongs.
func (f *Finder) likely(r *record) bool {
	h := &f.hunt
	if h.hosts || !h.groups[r.Cgroup] {
		return false
	}
	if h.unixes[r.SID] || h.reaper != 0 && r.PPID == h.reaper {
		return true
	}
	parent := f.parentOf(r)
	return parent != nil && (parent.Known != 0 || parent.seized) && parent.ID.MayBeParentOf(r.ID)
}

// letFree gives up a reference whose process may have been seized.
func (f *Finder) letFree(r *record, ref *proc.Ref) {
	if r.seized {
		r.seized = false
		f.hunt.release(ref)
	}
	_ = ref.Close()
}

// dropDead closes the references to those that died since they were seen: of
// what breeds that is most.
func (f *Finder) dropDead() {
	f.held = slices.DeleteFunc(f.held, func(r *record) bool {
		if r.held == nil || !errors.Is(r.held.Signal(0), proc.ErrGone) {
			return r.held == nil
		}
		_ = r.held.Close()
		r.held, r.seized = nil, false
		f.room++
		return true
	})
}

// chaseRounds bounds the listings of one chase.
const chaseRounds = 64

// slack is how far behind the last number given a chase looks: a child is
// visible some time after it has got its number (see Finder).
const slack = 64

// chase looks at those that came since the last listing, again and again until
// nobody new did: who is seized has no more children.
func (f *Finder) chase(ctx context.Context) error {
	if !f.hunt.all() {
		return nil
	}
	for range chaseRounds {
		last, err := f.fs.LastPID()
		if err != nil {
			return fmt.Errorf("find members: %w", err)
		}
		known, from := len(f.order), max(0, f.hunt.chased-slack)
		if last < f.hunt.chased {
			from = 0 // the numbers have wrapped
		}
		f.hunt.chased = last
		f.newer = f.newer[:0]
		if err := f.fs.Entries(from, f.gather); err != nil {
			return fmt.Errorf("find members: %w", err)
		}
		if err := f.visitNewer(); err != nil {
			return err
		}
		if len(f.order) == known || ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// visitNewer reads those of the listing that were not read in this pass.
func (f *Finder) visitNewer() error {
	for _, e := range f.newer {
		if r := f.records.get(e.pid); r != nil && r.pass == f.pass && r.inode == e.inode {
			continue
		}
		if err := f.visitEntry(e.pid, e.inode); err != nil {
			return err
		}
	}
	return nil
}
