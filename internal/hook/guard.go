package hook

import (
	"os"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// guard answers for a hook that a Runner runs behind the shield: what the
// runner loop does for a child, and nothing of the rest. The stage has its end
// of the pair as its input.
type guard struct {
	runner
	theirs *os.File
	done   chan struct{}
}

func newGuard(o Options) (*guard, error) {
	ours, theirs, err := linux.MessagePair()
	if err != nil {
		return nil, err
	}
	wake, err := linux.NewEventFD()
	if err != nil {
		_, _ = syscall.Close(ours), syscall.Close(theirs)
		return nil, err
	}
	g := &guard{theirs: os.NewFile(uintptr(theirs), "stage"), done: make(chan struct{})}
	g.opt, g.wake, g.child = o, wake, &child{output: -1, control: ours}
	go g.serve()
	return g, nil
}

// serve hears the stage and answers the hook, until close.
func (g *guard) serve() {
	defer close(g.done)
	for {
		over := false
		events := []event{{g.wake.FD(), func(linux.PollFD) { over = true }}}
		if g.child.control >= 0 {
			events = append(events, event{g.child.control, func(linux.PollFD) { g.stageSpoke() }})
		}
		if g.shield != nil {
			events = append(events, event{g.shield.listener.FD(), func(found linux.PollFD) {
				if !g.shield.serve(found) {
					g.dropShield()
				}
			}})
		}
		fds := make([]linux.PollFD, 0, len(events))
		for _, e := range events {
			fds = append(fds, linux.PollFD{FD: e.fd})
		}
		if err := linux.Poll(fds, time.Hour); err != nil { // and then again
			g.failed(err.Error())
			return
		}
		for i, e := range events {
			if fds[i].In || fds[i].HangUp {
				e.do(fds[i])
			}
		}
		if over {
			return
		}
	}
}

// close ends the service and brings what it saw into r.
func (g *guard) close(r *Result) {
	_ = g.theirs.Close()
	_ = g.wake.Set()
	<-g.done
	for g.child.control >= 0 && g.stageSpoke() { // its last words
	}
	if g.shield != nil {
		g.dropShield()
	}
	g.child.close()
	_ = g.wake.Close()
	r.Denied, r.Unshielded, r.Failed = g.res.Denied, g.res.Unshielded, g.res.Failed
	if !g.heard {
		r.Unshielded = stageSilent
	}
}
