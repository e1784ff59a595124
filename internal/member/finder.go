package member

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"xexit/internal/proc"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// Finder finds the members of one session again and again. It remembers what
// it has found: a member stays one, whatever it does to its environment and
// whoever becomes its parent. Not safe for concurrent use.
//
// A pass sees every process that lives at its end, although processes come
// and go meanwhile. Numbers are given in ascending order until they wrap:
//
//	L0 = last number given          round 1        round 2
//	 |                               |              |
//	 |---- all processes ----|  L1   |-- > L0 --| L2|-- > L1 --| …
//
// A process that lives at the end and was not seen became visible after the
// listing of its round. Then its parent, or the parent of that one, was there
// when that round listed, and was either read and found a member, or gone when
// it was read: both make one more round. A round with neither is the last.
//
// fork(2) takes the number of a child some time before the child is visible,
// so the child of one that was gone may have a number that was given before
// its round began. It is greater than its parent's all the same: the next
// round goes back to there. Only numbers that wrap break this, and show in L.
type Finder struct {
	fs *proc.FS
	t  Target

	records table[*record] // by number
	refs    []*proc.Ref    // all that were ever handed out
	past    map[session.ProcID]struct{}
	exempt  map[session.ProcID]string // all that ever were, and by what
	partial bool                      // Listed left somebody out
	judged  bool                      // the pass has come to decide
	scope   map[int]struct{}          // numbers listed in the login's scope
	pass    uint64
	home    [3]string // of the watcher, the leader, the subreaper

	services       map[int]string // of the pass, once listedServices
	servicesErr    error
	listedServices bool

	env   envReader
	hide  hiding
	hunt  hunt
	short func(*hunt) bool // we are short of the processor
	class *classifier
	snap  Snapshot
	order []*record // parallel to snap.Processes

	fresh     []record   // of a first pass, not in use yet
	strangers []stranger // of the listing, not read yet
	waits     bool       // what is in our reach is put into near
	near      []entry    // of the listing, not read yet
	second    *proc.FS   // for the second reader of strangers

	held    []*record // of this pass, with a reference that nobody asked for yet
	room    int       // how many more may be
	most    int       // above all descriptors that references may have
	starved error     // why no reference could be opened in this pass, if so

	low    int     // of the numbers that were gone in the round, and
	high   int     // the greatest one
	newer  []entry // of the round
	queue  []*record
	now    Pass
	visit  func(pid int, inode uint64) error
	gather func(pid int, inode uint64) error
}

type entry struct {
	pid   int
	inode uint64
}

// record is what is remembered of one process.
type record struct {
	Process
	stat  proc.Stat
	inode uint64
	owner uint32 // effective uid
	pass  uint64 // that saw it last

	walked uint64 // the pass that read on from here to the root
	bare   bool   // a stranger of whom stat was not read: no parent, no start

	ref      *proc.Ref
	held     *proc.Ref // opened before all was read, in this pass, of what may become a member
	refError error     // why there is none
	told     bool      // why.String of ruled is in text
	ruled    ruling
	text     string
	blocked  *envJob // which is stuck in its environment
	counted  bool    // as a zombie
	exact    bool    // UID is the real one, read after the last change of owner
	outside  error
	seized   bool   // the hunt's seize was told
	image    uint64 // where the environment ended when it was read; 0: it was not
}

// tailRounds bounds the rounds of a pass, and tailRoundsFresh those of a pass
// that has found somebody and so cannot be clean any more.
const (
	tailRounds      = 64
	tailRoundsFresh = 2
)

// NewFinder makes a Finder for t over fs, which stays the caller's. Close it.
func NewFinder(fs *proc.FS, t Target) *Finder {
	f := &Finder{
		fs: fs, t: t,
		past:   map[session.ProcID]struct{}{},
		exempt: map[session.ProcID]string{},
		scope:  map[int]struct{}{},
		class:  newClassifier(vetoesFor(&t)),
		hide:   newHiding(fs),
		short:  (*hunt).isStarved,
	}
	f.env = newEnvReader(fs.Root(), t.Entry.Markers)
	f.visit = f.visitEntry
	f.gather = func(pid int, inode uint64) error {
		f.newer = append(f.newer, entry{pid, inode})
		return nil
	}
	return f
}

// SetOthers replaces the other live sessions, which may come and go while this
// one ends.
func (f *Finder) SetOthers(others []registry.Entry) { f.t.Others = others }

// Close closes all references that Full has handed out.
func (f *Finder) Close() {
	f.letGo()
	for _, r := range f.refs {
		_ = r.Close()
	}
	f.refs = nil
	if f.second != nil {
		_ = f.second.Close()
	}
	f.env.close()
}

// Full looks at all processes and finds the members. The error is ctx's, or
// that of a /proc that cannot be listed; what was found until then counts.
func (f *Finder) Full(ctx context.Context) (Pass, error) {
	last, lastErr := f.fs.LastPID()
	f.makeRoom()
	f.low, f.high = last, 0
	patience := numbersPatience
	if f.pass == 0 {
		patience = firstPatience
	}
	err := f.first(ctx, patience)
	if err == nil || f.judged {
		f.take(ctx, 0)
	}
	if err != nil {
		return f.finish(false), err
	}
	quiet := false
	for !quiet && lastErr == nil {
		if err := ctx.Err(); err != nil {
			return f.finish(false), fmt.Errorf("find members: %w", err)
		}
		if f.now.Rounds == tailRounds || f.now.Fresh > 0 && f.now.Rounds >= tailRoundsFresh && !f.hunt.all() {
			break
		}
		f.now.Rounds++
		before := f.now
		var wrapped bool
		var err error
		last, wrapped, err = f.round(ctx, last)
		if err != nil {
			return f.finish(false), err
		}
		if wrapped {
			break
		}
		quiet = f.now.Fresh == before.Fresh && f.now.Vanished == before.Vanished
	}
	return f.finish(quiet && f.now.Fresh == 0 && f.now.Unknown == 0), nil
}

// Listed looks at those whom InScope lists and at nobody else, so that it costs
// the same however many others there are: they can be asked to go before Full
// looks for who has left the scope. It finds members as Full does, but only
// those that still are in the scope. It is never clean.
func (f *Finder) Listed(ctx context.Context) (Pass, error) {
	f.makeRoom()
	f.low, f.high = 0, 0
	f.begin()
	if err := f.listScope(); err != nil {
		return f.finish(false), fmt.Errorf("find members: %w", err)
	}
	for _, pid := range slices.Sorted(maps.Keys(f.scope)) {
		if err := f.visitEntry(pid, 0); err != nil {
			return f.finish(false), fmt.Errorf("find members: %w", err)
		}
	}
	f.readStrangers()
	// What tells others apart is in the tree, most of which was not read.
	f.order = slices.DeleteFunc(f.order, func(r *record) bool { return !Within(r.Cgroup, f.t.Entry.Scope) })
	f.dropAdopted()
	f.snap.Processes = f.snap.Processes[:0]
	for _, r := range f.order {
		f.snap.Processes = append(f.snap.Processes, &r.Process)
	}
	if err := f.readRest(ctx, 0); err != nil {
		return f.finish(false), err
	}
	f.class.begin(&f.t, &f.snap)
	f.class.add(0)
	f.take(ctx, 0)
	return f.finish(false), nil
}

// All is one look without references and without rounds: what `xexit ps` shows
// of a session that lives. Ref is not set, and nothing is remembered.
func (f *Finder) All(ctx context.Context) (Pass, error) {
	err := f.first(ctx, allPatience)
	return f.finish(false), err
}

// first reads all processes and decides over them.
func (f *Finder) first(ctx context.Context, patience time.Duration) error {
	f.begin()
	if err := f.listScope(); err != nil {
		return fmt.Errorf("find members: %w", err)
	}
	f.hunt.chased, f.hunt.ctx = f.low, ctx
	f.waits = f.pass == 1
	if err := f.fs.Entries(0, f.visit); err != nil {
		return fmt.Errorf("find members: %w", err)
	}
	if err := f.chase(ctx); err != nil {
		return err
	}
	f.readStrangers()
	f.visitWaiting()
	f.readHidden(ctx, patience)
	// Where ctx is over some environments are unknown. The others tell all the same.
	err := f.readRest(ctx, 0)
	f.class.begin(&f.t, &f.snap)
	f.class.add(0)
	f.judged = true
	return err
}

// begin begins a pass.
func (f *Finder) begin() {
	f.beginHunt()
	f.pass++
	f.partial, f.judged, f.near = false, false, nil
	f.now = Pass{Findings: f.now.Findings[:0]}
	f.services, f.servicesErr, f.listedServices = nil, nil, false
	f.order, f.snap.Processes = f.order[:0], f.snap.Processes[:0]
	f.refresh()
}

// gone notes that a process was gone when it was to be read.
func (f *Finder) gone(pid int) {
	f.now.Vanished++
	f.low, f.high = min(f.low, pid), max(f.high, pid)
}

// round reads the processes that came since the round before, at whose start
// the last number given was base. last is that of this round.
func (f *Finder) round(ctx context.Context, base int) (last int, wrapped bool, err error) {
	last, err = f.fs.LastPID()
	if err != nil {
		return 0, false, fmt.Errorf("find members: %w", err)
	}
	if last < base {
		return 0, true, nil
	}
	from := f.low
	if f.high > last {
		from = 0 // it is from before the numbers wrapped, its child may be from after
	}
	f.low, f.high = last, 0
	f.newer = f.newer[:0]
	if err := f.listScope(); err != nil {
		return 0, false, fmt.Errorf("find members: %w", err)
	}
	if err := f.fs.Entries(from, f.gather); err != nil {
		return 0, false, fmt.Errorf("find members: %w", err)
	}
	known := len(f.order)
	if err := f.visitNewer(); err != nil {
		return 0, false, err
	}
	f.hunt.chased = last
	if err := f.chase(ctx); err != nil {
		return 0, false, err
	}
	f.readStrangers()
	f.readHidden(ctx, 0)
	if len(f.order) > known {
		if err := f.readRest(ctx, known); err != nil {
			return 0, false, err
		}
		f.class.add(known)
		f.take(ctx, known)
	}
	return last, false, nil
}

// finish makes the findings of the pass.
func (f *Finder) finish(clean bool) Pass {
	f.letGo()
	f.freePacks()
	f.room = 0
	for i, r := range f.order {
		if i >= len(f.class.rulings) {
			break // the pass ended early
		}
		ruled := f.class.rulings[i]
		if name := f.class.exempt[i].name; name != "" {
			f.exempt[r.ID] = name
		}
		if r.ref != nil && r.ref.FD() < 0 {
			r.Dead = true // its reference was closed: nobody waits for it
		}
		if !f.class.reported(i) || r.Dead {
			continue
		}
		if !r.told || r.ruled != ruled {
			r.ruled, r.text, r.told, r.outside = ruled, ruled.why.String(), true, nil
		}
		if ruled.why.rule == whyFounder {
			r.Founder = true
		}
		f.now.Managed = f.now.Managed || ruled.exempt && f.class.groups[i].kind == cgroupManager
		f.now.Findings = append(f.now.Findings, f.finding(r))
	}
	f.now.Clean, f.now.Alone = clean, f.alone()
	f.forget()
	return f.now
}

func (f *Finder) finding(r *record) Finding {
	out := Finding{
		ID: r.ID, PPID: r.PPID, SID: r.SID, PGID: r.PGID, TTY: r.TTY,
		Comm: r.Comm, State: r.State, UID: r.UID,
		Evidence: r.ruled.evidence, Member: r.ruled.member(), Undecided: r.ruled.undecided, Why: r.text,
		InScope: Within(r.Cgroup, f.t.Entry.Scope),
	}
	switch {
	case r.Far && r.ruled.undecided:
		f.readOutside(r)
		out.UID, out.Comm = r.UID, r.Comm
	case r.ruled.outside:
		if r.outside == nil {
			f.readOutside(r)
			r.outside = errOutside(&r.Process)
			if !r.ruled.strays(&r.Process) {
				f.past[r.ID] = struct{}{} // its children belong, too
			}
		}
		out.UID, out.Comm, out.Unkillable = r.UID, r.Comm, r.outside
	case out.Member && r.Known != 0:
		out.Ref = r.ref
	case out.Member && r.refError != nil:
		// For this pass only: the next one tries again.
		out.Member, out.Undecided = false, true
		out.Why = r.text + "; no reference to it yet: " + r.refError.Error()
	}
	return out
}

// recordsAtOnce is how many records a first pass makes at a time.
const recordsAtOnce = 64

// newRecord makes a record. Those of a first pass are made many at a time:
// that is for whom the machine has anyway. A process that comes later gets its
// own, which goes when it does.
func (f *Finder) newRecord() *record {
	if f.pass > 1 {
		return &record{}
	}
	if len(f.fresh) == 0 {
		f.fresh = make([]record, recordsAtOnce)
	}
	r := &f.fresh[0]
	f.fresh = f.fresh[1:]
	return r
}

// forget drops what was not seen in this pass.
func (f *Finder) forget() {
	f.fresh = nil
	if f.records.count <= len(f.order) {
		return
	}
	for pid, r := range f.records.all() {
		if r.pass != f.pass {
			f.records.set(pid, nil)
		}
	}
}
