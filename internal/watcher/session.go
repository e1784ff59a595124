package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"xexit/internal/display"
	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// Session is the verb `session`; args exclude the verb. It returns CMD's exit
// status, 128+n for signal n.
func Session(args []string, w World) int {
	o, err := parseFlags(verbSession, args)
	if errors.Is(err, errHelp) {
		fmt.Fprint(w.Stdout, sessionHelp)
		return exitDone
	}
	var s *subreaper
	if err == nil {
		s, err = newSubreaper(o, w)
	}
	if err != nil {
		w.complain(err)
		return statusOf(err)
	}
	defer s.close()
	return s.run(context.Background())
}

// subreaper is a session below this process. One goroutine starts children and
// collects them, so that no exit is taken for another's.
type subreaper struct {
	options
	World
	report   reporter
	open     open
	place    place    // the display; none with --no-display
	path     string   // CMD, resolved
	mainFile *os.File // xexit-main as it was at the start, whatever is installed since
	signals  chan os.Signal

	registry *registry.Registry
	entry    registry.Entry
	handle   *registry.Handle // nil: could not be registered
	command  *linux.PidFD     // CMD
	pid      int              // CMD's
	status   int              // CMD's; -1: it runs
	vigil    *vigil           // nil: no display is watched
	gone     <-chan outcome   // nil like it
	over     display.End      // what gone said
	stop     context.CancelFunc
}

func newSubreaper(o options, w World) (*subreaper, error) {
	s := &subreaper{options: o, World: w, status: -1, stop: func() {}, open: openDisplay}
	s.report = reporter{socket: devLog, now: time.Now}
	if len(o.command) == 0 {
		return nil, usagef("no command (usage: xexit session [flags] -- CMD [ARG...])")
	}
	var err error
	if s.path, err = FindProgram(o.command[0], w.getenv("PATH")); err != nil {
		return nil, usagef("%v", err)
	}
	return s, nil
}

// equip gathers what the end will need.
func (s *subreaper) equip() error {
	mainPath, err := FindMain(s.Exe)
	if err != nil {
		return err
	}
	if s.mainFile, err = os.Open(mainPath); err != nil {
		return err
	}
	dir, err := registry.Dir(s.getenv, uint32(os.Getuid()))
	if err != nil {
		return err
	}
	if s.registry, err = registry.Open(dir); err != nil {
		return err
	}
	if err := s.describe(thisHost()); err != nil {
		return err
	}
	return linux.BecomeSubreaper()
}

func (s *subreaper) describe(h host) error {
	start, err := linux.Birth(os.Getpid())
	if err != nil {
		return err
	}
	self := session.ProcID{PID: os.Getpid(), Start: start}
	if !s.noDisplay {
		if s.place, err = s.World.place(&s.options, h); err != nil {
			return err
		}
	}
	login := h.login("self")
	s.entry = registry.Entry{
		Marked: true, Audit: login.audit, Scope: login.scope, UID: uint32(os.Getuid()),
		Subreaper: self, Watcher: self, Start: start, Timing: s.timing.entry(),
		// Only the markers asked for: those of the login around this session
		// are on that login's processes too.
		Markers: s.marked(s.Environ, nil),
	}
	s.entry.Display, s.entry.Wayland = session.CanonicalDisplay(s.place.display), s.place.wayland
	s.entry.ID, err = h.freshID()
	return err
}

func (s *subreaper) close() {
	s.stop()
	if s.handle != nil {
		if err := s.handle.Close(); err != nil {
			s.complain(err)
		}
	}
}

// register enters the session. A display that another watcher has stays that
// one's; it is watched from here too.
func (s *subreaper) register() {
	var err error
	s.handle, err = s.registry.Register(s.entry)
	var watched *registry.WatchedError
	if errors.As(err, &watched) {
		s.entry.Display = ""
		s.handle, err = s.registry.Register(s.entry)
	}
	if err != nil {
		s.complain(fmt.Errorf("the session is not registered, and will not be ended unless that can be made up for: %w", err))
	}
}

func (s *subreaper) run(ctx context.Context) int {
	if err := s.equip(); err != nil {
		return s.become(err)
	}
	s.catch()
	defer signal.Stop(s.signals)
	s.register()
	s.watchDisplay(ctx)
	if err := s.start(); err != nil {
		s.complain(err)
		return exitFailed
	}
	reason := s.untilOver()
	s.endSession(reason)
	if s.status < 0 { // kept by a rule, or it could not be ended: that was said
		return exitDone
	}
	return s.status
}

// catch: TERM and its like are CMD's; INT and QUIT the terminal gives to the
// whole process group, CMD included. Caught, not ignored: CMD would inherit
// that. What was ignored before (nohup) stays so, for CMD too.
func (s *subreaper) catch() {
	s.signals = make(chan os.Signal, 16)
	for _, sig := range []os.Signal{
		syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGINT, syscall.SIGQUIT, syscall.SIGCHLD,
	} {
		if sig == syscall.SIGCHLD || !signal.Ignored(sig) {
			signal.Notify(s.signals, sig)
		}
	}
}

// start runs CMD with everything as it is: directory, terminal, process group.
func (s *subreaper) start() error {
	environ := append(without(s.Environ, func(name string) bool {
		return name == session.MarkerName || name == leaderVar || name == ownsVar
	}), session.MarkerName+"="+string(s.entry.ID))
	child, err := startProgram(s.path, s.options.command, &os.ProcAttr{
		Env: environ, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", s.path, err)
	}
	// Not collected before Reap is called, so the number is still its own.
	s.pid = child.Pid
	s.command, err = linux.OpenPidFD(child.Pid)
	_ = child.Release()
	if err != nil {
		return err
	}
	start, err := linux.Birth(s.pid)
	if err == nil && s.handle != nil {
		err = s.handle.Update(func(e *registry.Entry) { e.Leader = session.ProcID{PID: s.pid, Start: start} })
		if err != nil {
			s.complain(err)
		}
	}
	return nil
}

// watchDisplay begins to watch, and waits a moment for the first attempt, so
// that CMD starts on a display that is seen to go.
func (s *subreaper) watchDisplay(ctx context.Context) {
	if s.place.display == "" {
		return
	}
	ctx, s.stop = context.WithCancel(ctx)
	tried, once := context.WithTimeout(ctx, launchPatience)
	defer once()
	s.vigil = &vigil{open: s.open, patience: openPatience, opened: once, failed: func(error) { once() }}
	s.vigil.options = display.Options{
		Name: s.place.display, Wayland: s.place.wayland, Authority: s.getenv("XAUTHORITY"), Home: s.getenv("HOME"),
		Connection: s.getenv("SSH_CONNECTION"),
		Interval:   s.timing.interval, LostAfter: s.timing.lostAfter,
		BlindAfter: s.timing.blindAfter, HungAfter: s.timing.hungAfter,
		LeaderPidFD: -1, // its exit is the end here, and is seen otherwise
	}
	done := s.vigil.start(ctx)
	gone := make(chan outcome, 1)
	s.gone = gone
	select {
	case o := <-done:
		gone <- o
	case <-tried.Done():
		s.gone = done
	}
}

// untilOver returns why the session is over.
func (s *subreaper) untilOver() session.Reason {
	for {
		select {
		case sig := <-s.signals:
			s.handleSignal(sig)
			if s.status >= 0 {
				return session.ReasonLeaderExit
			}
		case o := <-s.gone:
			s.gone = nil
			if o.err == nil && o.end.Run {
				s.over = o.end
				s.report.notef("session %s on %s is over (%s: %s)", s.entry.ID.Short(), s.vigil.options.Name, o.end.Reason, o.end.Noticed)
				return o.end.Reason
			}
			// EXIT, or a display that cannot be watched: CMD's exit is left.
			s.report.notef("session %s: display %s is not watched: %v %s", s.entry.ID.Short(), s.vigil.options.Name, o.err, o.end.Noticed)
		}
	}
}

func (s *subreaper) handleSignal(sig os.Signal) {
	switch sig {
	case syscall.SIGCHLD:
		s.reap(nil)
	case syscall.SIGINT, syscall.SIGQUIT:
	default:
		if n, ok := sig.(syscall.Signal); ok && s.status < 0 {
			_ = s.command.Signal(n) // ESRCH: it has just exited
		}
	}
}

// reap collects every child that has ended; each is told of every one.
func (s *subreaper) reap(each func(linux.Exit)) {
	for {
		e, ok, err := linux.Reap()
		if err != nil {
			s.complain(err)
		}
		if !ok {
			return
		}
		if e.PID == s.pid && s.status < 0 {
			s.status = e.Code()
		}
		if each != nil {
			each(e)
		}
	}
}

const endRetry = 50 * time.Millisecond

// endSession runs `xexit end` for this session, and goes on being the parent
// of what is orphaned meanwhile: only so can it be found by descent.
func (s *subreaper) endSession(reason session.Reason) {
	if !s.awaitOther() {
		return
	}
	if s.handle == nil {
		s.register()
	}
	child, err := s.startEnd(reason)
	if err != nil {
		s.complain(fmt.Errorf("end the session: %w", err))
		return
	}
	status := -1
	for status < 0 {
		if sig := <-s.signals; sig != syscall.SIGCHLD {
			s.handleSignal(sig)
			continue
		}
		s.reap(func(e linux.Exit) {
			if e.PID == child {
				status = e.Code()
			}
		})
	}
	if status != exitDone {
		s.report.failf("session %s: `xexit end` exited with status %d", s.entry.ID.Short(), status)
		if err := s.handle.Leave(); err != nil {
			s.complain(err)
		}
	}
}

// awaitOther waits while somebody else carries out this session's end: he
// needs this process as the parent of orphans. False: the session has ended.
func (s *subreaper) awaitOther() bool {
	again := time.NewTicker(endRetry)
	defer again.Stop()
	for {
		release, err := s.registry.BeginEnd(s.entry.ID)
		if err == nil {
			// Asked under the claim: whoever had it may have just finished.
			l, err := s.registry.Find(s.entry.ID)
			release()
			return err != nil || l.Phase != session.PhaseEnded
		}
		if !errors.Is(err, registry.ErrEnding) {
			return true // `xexit end` will say what is wrong
		}
		select {
		case sig := <-s.signals:
			s.handleSignal(sig)
		case <-again.C:
		}
	}
}

// startEnd: its messages go where this process's go, unless that is a pipe
// whose reader may be a member of the session.
func (s *subreaper) startEnd(reason session.Reason) (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = null.Close() }()
	out := os.Stderr
	if info, err := out.Stat(); err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		out = null
	}
	f := facts{
		id: s.entry.ID, end: s.noticed(reason),
		display: firstOf(s.place.display, s.getenv(displayVar)), at: linux.BootTicks(), uid: s.entry.UID,
	}
	argv := append([]string{"xexit", "end", "--session", string(s.entry.ID), "--reason", string(reason)}, s.forEnd...)
	child, err := spawn(openPath(s.mainFile), argv, f.environ(s.Environ), []*os.File{null, out, out})
	if err != nil {
		return 0, err
	}
	defer func() { _ = child.Release() }()
	return child.Pid, nil
}

func (s *subreaper) noticed(reason session.Reason) display.End {
	if reason == session.ReasonLeaderExit {
		return display.End{Reason: reason, Noticed: "the command exited with status " + fmt.Sprint(s.status)}
	}
	return s.over
}
