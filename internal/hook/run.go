package hook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// killWait bounds the wait for what got KILL and does not die: a process in an
// uninterruptible wait, or one that a set-id program made another user's.
const killWait = 5 * time.Second

// phase is how far the run of one hook has come. Each has a deadline, and only
// moves forward.
//
//	running ──hook exits, its group is empty──────────────────────▶ over
//	   │  hook exits, some of its group live; deadline; ctx         ▲
//	   └──▶ ending (TERM sent) ──all dead───────────────────────────┤
//	           └──grace over──▶ killed (KILL sent) ──dead, killWait─┘
type phase int

const (
	running phase = iota
	ending
	killed
	over
)

// runner runs one hook: a loop over everything that can happen, in one
// goroutine, so that nothing here is shared.
type runner struct {
	opt      Options
	res      Result
	child    *child
	wake     *linux.EventFD
	shield   *shield // nil: no listener
	out      capture
	phase    phase
	deadline time.Time // of the phase
	cut      bool      // ctx is cancelled
	exited   bool
	reaped   bool
	heard    bool           // the stage said something
	members  map[int]member // of the group, alive when last seen, by pid
}

// run is Run but for the second try and the time.
func run(ctx context.Context, spec Spec, env []string, o Options) Result {
	r := &runner{
		opt:      o,
		res:      Result{Name: filepath.Base(spec.Path), Status: -1},
		out:      capture{limit: o.OutputCap},
		deadline: time.Now().Add(o.Deadline),
		members:  map[int]member{},
	}
	uid := os.Geteuid()
	if o.As != nil {
		uid = int(o.As.Uid)
	}
	v, err := verifyHook(spec.Path, uid)
	if err != nil {
		r.res.Refused = err.Error()
		return r.res
	}
	if err := r.run(ctx, commandFor(spec.Path, v), env); err != nil {
		r.failed(err.Error())
	}
	r.res.Output, r.res.Dropped = r.out.kept, r.out.dropped
	r.res.Truncated = r.out.dropped > 0
	return r.res
}

func (r *runner) failed(why string) {
	if r.res.Failed == "" {
		r.res.Failed = why
	}
}

func (r *runner) run(ctx context.Context, c command, env []string) (err error) {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not started: %w", err)
	}
	if r.wake, err = linux.NewEventFD(); err != nil {
		return err
	}
	defer func() { _ = r.wake.Close() }()
	if r.child, err = start(c, env, r.opt); err != nil {
		return err
	}
	defer r.finish()

	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = r.wake.Set()
		close(cancelled)
	})
	defer func() {
		if !stop() {
			<-cancelled // before the descriptor is closed
		}
	}()
	return r.loop(ctx)
}

// event is a descriptor that is waited for, and what to do when it says
// something.
type event struct {
	fd int
	do func(linux.PollFD)
}

// awaited is everything that can happen next.
func (r *runner) awaited(ctx context.Context) []event {
	events := make([]event, 0, 5+len(r.members))
	wait := func(yes bool, fd int, do func(linux.PollFD)) {
		if yes {
			events = append(events, event{fd, do})
		}
	}
	wait(!r.exited, r.child.leader.FD(), func(linux.PollFD) { r.leaderExited() })
	wait(r.child.output >= 0, r.child.output, func(linux.PollFD) {
		if !r.out.readOnce(r.child.output) {
			r.child.closeOutput()
		}
	})
	wait(r.child.control >= 0, r.child.control, func(linux.PollFD) { r.stageSpoke() })
	wait(!r.cut, r.wake.FD(), func(linux.PollFD) { r.cancelled(ctx) })
	if r.shield != nil {
		wait(true, r.shield.listener.FD(), func(found linux.PollFD) {
			if !r.shield.serve(found) {
				r.dropShield()
			}
		})
	}
	for pid, m := range r.members {
		wait(true, m.fd.FD(), func(linux.PollFD) { r.memberDied(pid) })
	}
	return events
}

func (r *runner) loop(ctx context.Context) error {
	var fds []linux.PollFD
	for r.phase != over {
		events := r.awaited(ctx)
		fds = fds[:0]
		for _, e := range events {
			fds = append(fds, linux.PollFD{FD: e.fd})
		}
		if err := linux.Poll(fds, time.Until(r.deadline)); err != nil {
			return err
		}
		for i, e := range events {
			if r.phase != over && (fds[i].In || fds[i].HangUp) {
				e.do(fds[i])
			}
		}
		if r.phase != over && !time.Now().Before(r.deadline) {
			r.deadlineOver()
		}
	}
	return nil
}

func (r *runner) cancelled(ctx context.Context) {
	r.cut = true
	r.failed("cut short: " + context.Cause(ctx).Error())
	if r.phase == running {
		r.beginEnding()
	}
}

// leaderExited reaps the hook if its group keeps its name without it: then
// the group itself tells whether it is empty, without a look at all of /proc.
func (r *runner) leaderExited() {
	r.exited = true
	if r.child.group.OutlivesLeader() {
		r.reap()
	}
	if r.phase == running {
		if r.groupEmpty() {
			r.phase = over
			return
		}
		r.beginEnding()
		return
	}
	r.checkEmpty()
}

func (r *runner) groupEmpty() bool {
	return r.reaped && errors.Is(r.child.group.Signal(0), syscall.ESRCH)
}

// beginEnding asks everything in the group to end.
func (r *runner) beginEnding() {
	r.phase, r.deadline = ending, time.Now().Add(r.opt.Grace)
	found := r.scan()
	if r.exited {
		for _, m := range found {
			r.res.Left = append(r.res.Left, m.String())
		}
	}
	r.signalGroup(syscall.SIGTERM)
	r.signalGroup(syscall.SIGCONT)
	r.checkEmpty()
}

// scan watches the members of the group that are not watched yet.
func (r *runner) scan() []member {
	found, err := scanGroup(r.child.pid, r.members)
	if err != nil {
		r.failed(fmt.Sprintf("look for the processes it left: %v", err))
	}
	for _, m := range found {
		r.members[m.pid] = m
	}
	return found
}

func (r *runner) memberDied(pid int) {
	if m, ok := r.members[pid]; ok {
		_ = m.fd.Close()
		delete(r.members, pid)
	}
	r.checkEmpty()
}

// checkEmpty is over once the hook is dead and nothing of its group lives; what
// was born meanwhile is asked to end as well.
func (r *runner) checkEmpty() {
	if r.phase == running || r.phase == over || !r.exited || len(r.members) > 0 {
		return
	}
	if r.groupEmpty() {
		r.phase = over
		return
	}
	for _, m := range r.scan() {
		if r.phase == ending {
			m.endPolitely()
		}
	}
	if len(r.members) == 0 {
		r.phase = over
	}
}

func (r *runner) deadlineOver() {
	switch r.phase {
	case running:
		r.res.TimedOut = true
		r.beginEnding()
	case ending:
		r.phase, r.deadline = killed, time.Now().Add(killWait)
		r.scan() // only to wait for them: KILL reaches also those born since
		r.signalGroup(syscall.SIGKILL)
		r.checkEmpty()
	case killed:
		r.phase = over
		if !r.exited {
			r.res.Survived = append(r.res.Survived, fmt.Sprintf("%d (the hook)", r.child.pid))
		}
		for _, pid := range slices.Sorted(maps.Keys(r.members)) {
			r.res.Survived = append(r.res.Survived, r.members[pid].String())
		}
	}
}

func (r *runner) signalGroup(sig syscall.Signal) {
	// ESRCH: gone. EPERM: not ours to end, which Survived will tell.
	err := r.child.group.Signal(sig)
	if err != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EPERM) {
		r.failed(fmt.Sprintf("end its process group: %v", err))
	}
}

// stageSpoke takes one message of the stage. false: there is none, or no more.
func (r *runner) stageSpoke() bool {
	buf := make([]byte, 1024)
	n, fd, err := linux.ReceiveMessage(r.child.control, buf)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return false
	case err != nil || n == 0:
		r.child.closeControl()
		return false
	}
	r.heard = true
	text := strings.ToValidUTF8(string(buf[1:n]), "?")
	switch {
	case buf[0] == msgShielded && fd >= 0:
		r.raiseShield(fd)
		return true
	case buf[0] == msgUnshielded:
		r.res.Unshielded = text
	case buf[0] == msgFailed:
		r.failed(text)
	}
	if fd >= 0 {
		_ = syscall.Close(fd)
	}
	return true
}

func (r *runner) raiseShield(fd int) {
	s, err := newShield(fd, r.opt.Protect)
	if err != nil { // the listener is closed: the hook can signal nobody
		r.failed(fmt.Sprintf("shield: %v", err))
		return
	}
	r.shield = s
}

func (r *runner) dropShield() {
	r.res.Denied = r.shield.denied()
	r.shield.close()
	r.shield = nil
}

func (r *runner) reap() {
	status, err := r.child.reap()
	r.reaped = true
	if err != nil {
		r.failed(err.Error())
		return
	}
	if status.Signaled() {
		r.res.Signal = status.Signal()
		return
	}
	r.res.Status = status.ExitStatus()
}

// finish gives up everything that the run held, whatever way it came to its
// end, and takes what is still in the pipe.
func (r *runner) finish() {
	if r.phase != over { // an error of ours: the hook must not run on unwatched
		r.signalGroup(syscall.SIGKILL)
		r.exited = true
	}
	if r.exited && !r.reaped {
		r.reap()
	}
	for _, m := range r.members {
		_ = m.fd.Close()
	}
	for r.child.control >= 0 && r.stageSpoke() { // its last words, if it died before they were read
	}
	if r.shield != nil {
		r.dropShield()
	}
	if r.child.output >= 0 {
		r.out.drain(r.child.output)
	}
	if r.opt.Shield && !r.heard {
		r.res.Unshielded = stageSilent
	}
	r.child.close()
}
