package ending

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"xexit/internal/history"
	"xexit/internal/member"
	"xexit/internal/policy"
	"xexit/internal/proc"
	"xexit/internal/reap"
	"xexit/internal/session"
)

// looker makes plans of what the finder finds, pass after pass, and remembers
// everybody that a plan ever named, for the record. It implements reap.Looker.
type looker struct {
	target *target
	end    policy.End
	plan   policy.Plan // the last one
	began  bool        // it has looked
	// managed: somebody who is exempt runs below the user's service manager.
	managed bool
	// seen holds every process that anything pointed at, in the order of
	// first sight; what a later pass says of it replaces what an earlier one
	// said, unless the evidence has gone meanwhile.
	seen  map[session.ProcID]*history.Process
	order []session.ProcID
	doubt map[session.ProcID]bool // undecided at the last sight
	// barred could not be ended by us whatever the plan says, and why.
	barred map[session.ProcID]error
}

func newLooker(t *target, reason session.Reason) *looker {
	return &looker{
		target: t,
		end:    policy.End{Session: t.entry.ID, Reason: reason},
		seen:   map[session.ProcID]*history.Process{},
		doubt:  map[session.ProcID]bool{},
		barred: map[session.ProcID]error{},
	}
}

// Look implements reap.Looker. A session that began since the last look has
// its say: its marker, its display, its login.
func (l *looker) Look(ctx context.Context) (reap.Look, error) {
	if err := l.setOthers(); err != nil {
		return reap.Look{}, err
	}
	find := l.target.finder.Full
	if !l.began && l.listed() {
		// Who is in there is asked to go without waiting for a look at the
		// whole machine.
		find = l.target.finder.Listed
	}
	l.began = true
	return l.look(ctx, find)
}

// LookIn implements reap.Insider.
func (l *looker) LookIn(ctx context.Context) (look reap.Look, ok bool, err error) {
	if !l.listed() {
		return look, false, nil
	}
	if err := l.setOthers(); err != nil {
		return look, false, err
	}
	look, err = l.look(ctx, l.target.finder.Listed)
	return look, true, err
}

// look makes a plan of what a pass finds.
func (l *looker) look(ctx context.Context, find func(context.Context) (member.Pass, error)) (reap.Look, error) {
	pass, err := find(ctx)
	l.decide(pass)
	refs := make(map[session.ProcID]*proc.Ref, len(pass.Findings))
	for i := range pass.Findings {
		if f := &pass.Findings[i]; f.Ref != nil {
			refs[f.ID] = f.Ref
		}
	}
	look := reap.Look{Clean: pass.Clean, Alone: pass.Alone}
	for i := range l.plan.Items {
		item, in := &l.plan.Items[i], pass.Findings[i].InScope
		l.remember(item)
		if ref := refs[item.ID]; item.Verdict == session.VerdictEnd && ref != nil {
			look.End = append(look.End, reap.Target{Ref: ref, PGID: item.PGID, TTY: item.TTY != 0, In: in})
		} else if in {
			look.Alone = false
		}
	}
	return look, err
}

// listed reports whether a look at the login's control group alone tells whom
// of those in it to end. What a rule keeps shows in the tree, most of which is
// outside.
func (l *looker) listed() bool { return l.target.group != nil && len(l.target.rules) == 0 }

// survey makes a plan that nobody will carry out: one look, without references.
func (l *looker) survey(ctx context.Context) error {
	if err := l.setOthers(); err != nil {
		return err
	}
	pass, err := l.target.finder.All(ctx)
	l.decide(pass)
	return err
}

func (l *looker) setOthers() error {
	others, err := l.target.others()
	if err != nil {
		return err
	}
	l.target.finder.SetOthers(others)
	return nil
}

// decide plans what to do about what a pass has found.
func (l *looker) decide(pass member.Pass) {
	processes := make([]policy.Process, 0, len(pass.Findings))
	for i := range pass.Findings {
		processes = append(processes, l.process(&pass.Findings[i]))
	}
	l.managed = pass.Managed
	l.plan = policy.Decide(l.end, processes, l.target.rules)
}

// SeizeBy implements reap.Seizer. Where a rule may keep a member nobody is
// seized: he would be stopped for nothing.
func (l *looker) SeizeBy(seize func(ref *proc.Ref, pgid int) (one, group bool), release func(*proc.Ref), starved bool) {
	if len(l.target.rules) == 0 {
		l.target.finder.SeizeBy(seize, release, starved)
	}
}

// Release implements reap.Releaser: the finder takes a closed reference for a
// dead process.
func (l *looker) Release(ref *proc.Ref) { _ = ref.Close() }

// process is what the policy needs to know of a finding. The executable is
// looked up for members only, and only where a rule could match it.
func (l *looker) process(f *member.Finding) policy.Process {
	p := policy.Process{
		ID: f.ID, PPID: f.PPID, SID: f.SID, PGID: f.PGID, TTY: f.TTY, Comm: f.Comm, State: f.State, UID: f.UID,
		Evidence: f.Evidence, Member: f.Member, Undecided: f.Undecided, Why: f.Why, Unkillable: f.Unkillable,
	}
	if f.Unkillable != nil {
		l.barred[f.ID] = f.Unkillable
	}
	if f.Member && len(l.target.rules) > 0 {
		if _, dev, ino, err := l.target.fs.Exe(f.ID.PID); err == nil {
			p.Exe, p.ExeKnown = policy.FileID{Dev: dev, Ino: ino}, true
		}
	}
	return p
}

func (l *looker) remember(item *policy.Item) {
	known := l.seen[item.ID]
	if item.Evidence == 0 && !item.Undecided && known == nil {
		return // nobody of ours
	}
	if known == nil {
		known = &history.Process{}
		l.seen[item.ID] = known
		l.order = append(l.order, item.ID)
	}
	*known = RecordProcess(*item)
	l.doubt[item.ID] = item.Undecided
}

// inBound is the bound that reap asks before its first signal to a process. It
// judges by the kernel's word alone, apart from how the finder came to name it.
func (l *looker) inBound(ref *proc.Ref) error {
	b := &l.target.bound
	if b.ByDescentOnly {
		return l.below(ref, b.Subreaper)
	}
	if l.target.euid != 0 {
		return nil // kill(2) is the bound: it lets a user reach his own processes only
	}
	if l.target.login != "" { // asked first: it is the cheaper question, and most are
		if in, err := l.target.inScope(ref.ID().PID); err == nil && in {
			return nil
		}
	}
	uid, err := l.target.fs.UID(ref.ID().PID)
	if err != nil {
		if errors.Is(err, proc.ErrGone) {
			return nil // the signal will find nobody
		}
		return fmt.Errorf("whose process it is cannot be read: %w", err)
	}
	if uid != b.UID {
		return fmt.Errorf("it belongs to uid %d, not to the session's user %d", uid, b.UID)
	}
	return nil
}

// below reports whether a process descends from the subreaper, now.
func (l *looker) below(ref *proc.Ref, subreaper session.ProcID) error {
	pid := ref.ID().PID
	for hops := 0; pid > 1 && hops < maxHops; hops++ {
		s, err := l.target.fs.Stat(pid)
		if err != nil {
			if errors.Is(ref.Signal(0), proc.ErrGone) {
				return nil
			}
			if errors.Is(l.target.fs.MaySignal(pid), proc.ErrGone) {
				pid = ref.ID().PID // one in between has died: there is another parent now
				continue
			}
			if l.target.fs.HasChild(subreaper, pid) {
				return nil
			}
			// Hidden by /proc: its parent is the one that the plan names, if
			// that one lists it still.
			if parent := l.planned(l.parent(pid)); !parent.IsZero() && l.target.fs.HasChild(parent, pid) {
				pid = parent.PID
				continue
			}
			return err
		}
		if s.ID() == subreaper {
			return nil
		}
		pid = s.PPID
	}
	return fmt.Errorf("it does not descend from the session's subreaper %d", subreaper.PID)
}

// parent is the number of the parent that the plan has for pid; 0: none.
func (l *looker) parent(pid int) int {
	for i := range l.plan.Items {
		if item := &l.plan.Items[i]; item.ID.PID == pid {
			return item.PPID
		}
	}
	return 0
}

// planned is who has the number pid in the plan.
func (l *looker) planned(pid int) session.ProcID {
	for i := range l.plan.Items {
		if id := l.plan.Items[i].ID; id.PID == pid && pid != 0 {
			return id
		}
	}
	return session.ProcID{}
}

// maxHops bounds the walk to the root of the process tree: the parents may
// change under the walk, and could form a circle in what it reads.
const maxHops = 1 << 15

// note brings the last plan into the record: nobody was ended.
func (l *looker) note(r *history.Record) {
	for i := range l.plan.Items {
		l.remember(&l.plan.Items[i])
	}
	for _, id := range l.order {
		if l.doubt[id] {
			r.Undecided = append(r.Undecided, *l.seen[id])
		} else {
			r.Processes = append(r.Processes, *l.seen[id])
		}
	}
}

// fill brings what reap did into the record.
func (l *looker) fill(r *history.Record, report reap.Report) {
	for _, o := range report.Processes {
		p := l.seen[o.ID]
		if p == nil {
			continue
		}
		p.Signals, p.After = o.Signals, history.Millis(o.After)
		switch o.How {
		case reap.HowGone, reap.HowTerm, reap.HowKill:
			p.Ended = string(o.How)
		}
	}
	for _, s := range report.Survivors {
		r.Survivors = append(r.Survivors, l.survivor(s.ID, s.Cause))
	}
	for _, id := range l.order {
		p := *l.seen[id]
		if l.doubt[id] {
			r.Undecided = append(r.Undecided, p)
			continue
		}
		if err := l.barred[id]; err != nil && l.alive(id) {
			r.Survivors = append(r.Survivors, l.survivor(id, cause(err, l.seen[id].UID)))
		}
		r.Processes = append(r.Processes, p)
	}
	r.Verified = report.Verified
	r.Took = history.Millis(report.Took)
}

func (l *looker) survivor(id session.ProcID, cause string) history.Survivor {
	s := history.Survivor{ProcID: id, Cause: cause}
	if p := l.seen[id]; p != nil {
		s.Comm = p.Comm
	}
	return s
}

// cause says in words why we could not signal a process of that uid.
func cause(err error, uid uint32) string {
	if errors.Is(err, syscall.EPERM) {
		return "EPERM: it runs as " + userName(uid)
	}
	return err.Error()
}

func (l *looker) alive(id session.ProcID) bool {
	s, err := l.target.fs.Stat(id.PID)
	if err != nil && id.Start == 0 { // hidden by /proc: kill(2) knows
		return !errors.Is(l.target.fs.MaySignal(id.PID), proc.ErrGone)
	}
	return err == nil && s.ID() == id && !s.Dead()
}

// step turns an event of reap's into words.
func (l *looker) step(e reap.Event) (Step, bool) {
	s := Step{At: e.At, ID: e.ID, Kind: stepKind(e.Kind)}
	if p := l.seen[e.ID]; p != nil {
		s.Comm = p.Comm
	}
	switch e.Kind {
	case reap.KindSignal:
		s.What = e.Signal
		if e.Err != nil {
			s.What += ": " + e.Err.Error()
		}
	case reap.KindGone:
		s.What = "gone"
	case reap.KindGrace:
		s.What = fmt.Sprintf("the grace is over, %d left", e.Alive)
	case reap.KindSurvived, reap.KindRefused:
		s.What = fmt.Sprintf("%s: %v", e.Kind, e.Err)
	case reap.KindSweep:
		s.What = fmt.Sprintf("sweep %d: STOP to whoever is left", e.Round)
	case reap.KindVerified:
		s.What = "verified: nobody is left"
	default:
		return Step{}, false
	}
	return s, true
}

func stepKind(k reap.Kind) StepKind {
	switch k {
	case reap.KindGrace:
		return StepGrace
	case reap.KindSignal, reap.KindRefused, reap.KindGone, reap.KindSweep, reap.KindSurvived, reap.KindVerified:
		return StepKind(k)
	}
	return ""
}

// RecordProcess is a planned process in the form of a record.
func RecordProcess(item policy.Item) history.Process {
	return history.Process{
		ProcID: item.ID, PPID: item.PPID, Comm: item.Comm, UID: item.UID,
		Evidence: item.Evidence, Verdict: item.Verdict, Why: item.Why,
	}
}
