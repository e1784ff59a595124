package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"xexit/internal/display"
	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// probeWithin is how long a watcher that got TERM or HUP looks whether its
// session is over: whoever sent it may send KILL soon.
const probeWithin = time.Second

// resident is a watcher that has been launched: it registers the session,
// watches its display, and runs the program once when that is gone.
type resident struct {
	job
	report   reporter
	open     open
	patience time.Duration               // openPatience
	leaderFD int                         // pidfd; -1: unknown
	signals  chan os.Signal              // that ask it to leave
	word     func(word, say string) bool // tells the launcher, once; false: nobody listens

	environ  *os.File // the session's environment, unread
	mainFile *os.File // xexit-main as it was at the start; nil: there was none
	null     *os.File // /dev/null

	registry *registry.Registry
	handle   *registry.Handle // nil: could not be registered (full disk)
}

// residentMain is the re-executed process: its descriptors are those of job.go.
func residentMain(w World) int {
	linux.NameProcess("xexit") // it was started as /proc/self/exe
	for fd := fdJob; fd <= fdLeader; fd++ {
		syscall.CloseOnExec(fd)
	}
	r, err := newResident()
	if err != nil {
		w.complain(err)
		return exitFailed
	}
	ready := os.NewFile(fdReady, "ready")
	r.word = func(word, say string) bool {
		_, err := ready.WriteString(word + " " + printable(say) + "\n")
		_ = ready.Close()
		return err == nil
	}
	return r.main()
}

func newResident() (*resident, error) {
	jobFile := os.NewFile(fdJob, "job")
	text, err := readAll(jobFile)
	if err != nil {
		return nil, fmt.Errorf("%s is for xexit itself: %w", residentFlag, err)
	}
	_ = jobFile.Close()
	j, err := decodeJob(text)
	if err != nil {
		return nil, err
	}
	r := &resident{job: j, environ: os.NewFile(fdEnviron, "environ"), leaderFD: -1}
	if j.hasLeader {
		r.leaderFD = fdLeader
	}
	return r, nil
}

// foreground is a resident watcher without a launcher: it says itself what the
// launcher would, and its exit status is the launcher's.
func (l *launcher) foreground(w World) (int, error) {
	environ, err := memFile("xexit-environ", encodeEnviron(l.environ))
	if err != nil {
		return exitFailed, err
	}
	defer func() { _ = environ.Close() }()
	r := &resident{job: l.job, environ: environ, leaderFD: -1}
	r.report.stderr = w.Stderr
	r.word = func(string, string) bool { return false }
	if err := linux.CloseOnExecFrom(fdJob); err != nil {
		return exitFailed, err
	}
	if l.leader != nil {
		r.leaderFD = l.leader.FD()
	}
	return r.main(), nil
}

// main gives a watcher this machine, and runs it.
func (r *resident) main() int {
	r.report.socket, r.report.now = devLog, time.Now
	r.open, r.patience = openDisplay, openPatience
	r.signals = make(chan os.Signal, 4)
	// With a handler of ours PROGRAM gets the default of each, also of those
	// that a shell ignores for what it runs in the background.
	if err := linux.Signals(r.signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT); err != nil {
		return r.fail(err)
	}
	return r.run(context.Background())
}

func (r *resident) run(ctx context.Context) int {
	if err := r.prepare(); err != nil {
		return r.fail(err)
	}
	defer r.release() // again, where it has not been yet
	if err := r.register(); err != nil {
		var watched *registry.WatchedError
		if errors.As(err, &watched) {
			r.report.notef("%v: nothing to do", err)
			r.word(wordWatched, err.Error())
			return exitDone
		}
		// Unregistered it cannot be told from others' ends; but the display is
		// watched, which matters most. It is tried again at the end.
		r.report.failf("session %s is watched, but not registered: %v", r.entry.ID, err)
	}
	end, err := r.watch(ctx)
	switch {
	case err != nil:
		return r.leave(err)
	case !end.Run:
		r.report.notef("session %s: %s; leaving without running anything", r.name(), end.Noticed)
		return exitDone
	}
	return r.ended(end)
}

// fail says why nothing can be watched.
func (r *resident) fail(err error) int {
	r.report.failf("%v", err)
	r.word(wordFailed, err.Error())
	return exitFailed
}

// name is the session for people.
func (r *resident) name() string { return r.entry.ID.Short() + " on " + r.display }

// prepare opens what the end will need: an upgrade may take it away.
func (r *resident) prepare() (err error) {
	if r.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return err
	}
	if r.mainPath != "" {
		if r.mainFile, err = os.Open(r.mainPath); err != nil && r.program.builtin {
			return err
		}
	}
	start, err := linux.Birth(os.Getpid())
	if err != nil {
		return err
	}
	r.entry.Watcher = session.ProcID{PID: os.Getpid(), Start: start}
	r.entry.Program, r.entry.Timing = r.program.path, r.timing.entry()
	r.registry, err = registry.Open(r.dir)
	return err
}

func (r *resident) release() {
	if r.handle == nil {
		return
	}
	if err := r.handle.Close(); err != nil {
		r.report.failf("%v", err)
	}
	r.handle = nil
}

// register enters the session. An id that is another display's came down by
// environment from the session around this one: this one gets its own, which
// its processes do not carry.
func (r *resident) register() (err error) {
	r.handle, err = r.registry.Register(r.entry)
	var taken *registry.TakenError
	if !errors.As(err, &taken) {
		return err
	}
	if r.entry.ID, err = thisHost().freshID(); err != nil {
		return err
	}
	r.entry.Marked = false
	r.handle, err = r.registry.Register(r.entry)
	return err
}

// errLeft: asked to leave before there was anything to watch.
var errLeft = errors.New("asked to leave before the display had answered")

// watch returns when the display is gone, or with an error: display.ErrAlive,
// errLeft, or why it cannot be watched.
func (r *resident) watch(ctx context.Context) (display.End, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := &vigil{open: r.open, patience: r.patience, options: r.displayOptions()}
	said := "" // why it was tried again the last time: that is said once
	v.opened = func() {
		said = ""
		say := "session " + r.name() + ": watching"
		if !r.word(wordReady, say) { // else the launcher says it: formatting has its price in memory
			r.report.notef("%s", say)
		}
	}
	v.failed = func(err error) {
		why := err.Error()
		if why == said {
			return
		}
		said = why
		r.report.notef("session %s: %s; trying again", r.name(), why)
		r.word(wordRetry, why)
	}
	done := v.start(ctx)
	var enough <-chan time.Time
	for {
		select {
		case o := <-done:
			return r.judge(o)
		case sig := <-r.signals:
			if enough != nil {
				continue // looking already
			}
			r.report.notef("session %s: got signal %q; looking whether the session is over", r.name(), sig)
			if !v.probe(probeWithin) {
				cancel()
				return r.judge(lastWord(done))
			}
			enough = time.After(2 * probeWithin)
		case <-enough: // no answer either way: what is not known to be over lives
			return r.judge(outcome{err: display.ErrAlive})
		}
	}
}

// lastWord is the outcome of a vigil that could not be asked: the display has
// not answered yet, or it has just ended and the outcome is on its way. At a
// logout the server and whoever sends the signal often come at the same time.
func lastWord(done <-chan outcome) outcome {
	select {
	case o := <-done:
		if o.err == nil {
			return o
		}
	case <-time.After(probeWithin):
	}
	return outcome{err: errLeft}
}

// judge: after a signal the leader's exit counts too. Alone it does not: a
// session may go on without its first process.
func (r *resident) judge(o outcome) (display.End, error) {
	if !errors.Is(o.err, display.ErrAlive) || r.leaderFD < 0 {
		return o.end, o.err
	}
	if gone, err := linux.Readable(r.leaderFD); err != nil || !gone {
		return o.end, o.err
	}
	return display.End{Reason: session.ReasonLogout, Run: true, Noticed: "asked to leave, and the session's leader has exited"}, nil
}

func (r *resident) displayOptions() display.Options {
	return display.Options{
		Name: r.display, Wayland: r.wayland, Authority: r.authority, Home: r.home, Connection: r.ssh,
		Interval: r.timing.interval, LostAfter: r.timing.lostAfter,
		BlindAfter: r.timing.blindAfter, HungAfter: r.timing.hungAfter,
		LeaderPidFD: r.leaderFD,
		Report: func(s display.State, why string) {
			r.report.notef("session %s: display is %s: %s", r.name(), s, why)
		},
	}
}

// leave says why there is nothing to be run. The launcher returns on a last
// word, and whoever started it finds the session registered no more.
func (r *resident) leave(err error) int {
	r.release()
	var refused *display.RefusedError
	switch {
	case errors.Is(err, display.ErrAlive):
		r.report.notef("session %s lives: leaving without ending it", r.name())
		return exitDone
	case errors.Is(err, errLeft):
		r.report.notef("session %s: %v", r.name(), err)
		return exitDone
	case errors.As(err, &refused):
		say := err.Error() + " (" + refused.Remedy + ")"
		r.report.failf("session %s: %s", r.name(), say)
		r.word(wordRefused, say)
		return exitUsage
	}
	r.report.failf("session %s: giving up after %s: %v", r.name(), r.patience, err)
	r.word(wordFailed, err.Error())
	return exitFailed
}
