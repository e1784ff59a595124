package ending

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"xexit/internal/config"
	"xexit/internal/engine"
	"xexit/internal/history"
	"xexit/internal/linux"
	"xexit/internal/logindefs"
	"xexit/internal/proc"
	"xexit/internal/reap"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// Result is what an end did.
type Result struct {
	Record history.Record
	Exit   engine.Exit
	// Problems are what failed while the end went on, the record's own included.
	Problems []error
}

// End ends the session that req asks for. An error means that nothing was
// done; it wraps ErrUsage where the caller can mend it, and engine.ErrClaimed
// where the end is somebody else's or was carried out before.
//
// TERM, HUP and INT are noted and ignored meanwhile: a script that ends
// everything of the user's must not end the end.
func (h Host) End(ctx context.Context, req Request, log *slog.Logger) (Result, error) {
	defer HoldSignals(log)()
	defer collectLate()()
	// Room for as many pidfds as a large session has members. It costs a wait,
	// which passes while there is other work.
	go func() { _ = linux.GrowFDTable(largeSession) }()
	reg, err := h.registry()
	if err != nil {
		return Result{}, err
	}
	s, err := h.resolve(reg, req.Session)
	if err != nil {
		return Result{}, err
	}
	c, t, err := h.prepare(reg, s, req)
	if err != nil {
		h.recordRefusal(reg, s.Entry, req, err, log)
		return Result{}, err
	}
	defer t.close()
	if t.login != "" { // the daemon may be at it
		release, err := h.claimLogin(t.login)
		if err != nil {
			return Result{}, err
		}
		defer release()
	}
	r := h.newRun(t, reg, c, req, log)
	en := engine.Engine{Claimer: r, Recorder: r, Hooks: hooksOf{r}, Members: membersOf{r}}
	result, err := en.Run(ctx)
	if err != nil {
		return Result{}, err
	}
	r.dismissWatcher()
	for _, p := range result.Problems {
		r.warn(p)
	}
	return Result{Record: r.record, Exit: result.Exit(), Problems: result.Problems}, nil
}

// prepare is everything that can still forbid the end.
func (h Host) prepare(reg *registry.Registry, s subject, req Request) (config.Config, *target, error) {
	c, err := h.load(req)
	if err != nil {
		return c, nil, err
	}
	limits, err := loginDefs(logindefs.Path)
	if err != nil {
		return c, nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if err := h.refuse(s, limits, scopeOf(req, c)); err != nil {
		return c, nil, err
	}
	t, err := h.open(reg, s, c, scopeOf(req, c), req.Waiter)
	if err != nil || t.login == "" {
		return c, t, err
	}
	if err := t.leaveScope(); err != nil {
		t.close()
		return c, nil, err
	}
	return c, t, nil
}

// recordRefusal notes that a session was not ended, and why: nobody may be at
// a terminal to read it.
func (h Host) recordRefusal(reg *registry.Registry, e registry.Entry, req Request, refusal error, log *slog.Logger) {
	c := config.Default() // what is configured may be what is refused
	record := h.newRecord(e, h.reason(req))
	record.Problems = []string{refusal.Error()}
	record.Event = history.Done
	if s := h.syslog(c); s != nil {
		if err := s.Warn(record, refusal.Error()); err != nil {
			log.Info("syslog", "error", err)
		}
	}
	w := h.writer(reg, c)
	if err := errors.Join(w.Begin(record), w.Done(context.Background(), record)); err != nil {
		log.Warn("record the refusal", "session", e.ID, "error", err)
	}
}

const largeSession = 4096 // descriptors

// Every process there is leaves a little behind at the first look, and all of it
// stays: to collect garbage meanwhile costs more than there is. endGC is how much
// the heap may grow between two collections, in percent (the first is due at 64
// MB then), and endHeap where it is collected as often as need be, in bytes.
const (
	endGC   = 1600
	endHeap = 256 << 20
)

// collectLate sets the two for an end.
func collectLate() (restore func()) {
	percent, limit := debug.SetGCPercent(endGC), debug.SetMemoryLimit(endHeap)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// HoldSignals keeps the polite signals from ending this process until release.
// They are taken by a handler, not ignored: what is ignored stays ignored in
// the programs that are started meanwhile (execve(2)).
func HoldSignals(log *slog.Logger) (release func()) {
	held := make(chan os.Signal, 8)
	done := make(chan struct{})
	signal.Notify(held, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	go func() {
		for {
			select {
			case s := <-held:
				log.Info("signal noted, the end goes on", "signal", s.String())
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(held)
		close(done)
	}
}

// run is one end under way: the steps that the engine calls, and the record
// that they fill in.
type run struct {
	host   Host
	target *target
	reg    *registry.Registry
	config config.Config
	req    Request
	log    *slog.Logger
	writer history.Writer
	syslog *history.Syslog
	looker *looker
	record history.Record
	noBus  error // systemd cannot be asked: known after the first time
	silent bool  // it was late to answer: see holdStill
}

func (h Host) newRun(t *target, reg *registry.Registry, c config.Config, req Request, log *slog.Logger) *run {
	r := &run{
		host: h, target: t, reg: reg, config: c, req: req, log: log,
		looker: newLooker(t, h.reason(req)),
		writer: h.writer(reg, c),
		syslog: h.syslog(c),
		record: h.newRecord(t.entry, h.reason(req)),
	}
	if me, err := t.fs.Stat(os.Getpid()); err == nil {
		r.record.By = me.ID()
	}
	return r
}

func (h Host) newRecord(e registry.Entry, reason session.Reason) history.Record {
	host, _ := os.Hostname() // "" is a file name that can be found too
	r := history.Record{
		V:       history.Version,
		ID:      history.NewID(),
		Time:    time.Now(),
		Kind:    history.KindEnd,
		Host:    host,
		Session: e.ID,
		User:    userName(e.UID),
		UID:     e.UID,
		Display: e.Display,
		Client:  client(e),
		Reason:  reason,
		Noticed: h.getenv("XEXIT_NOTICED"),
	}
	if us, err := strconv.ParseInt(h.getenv("XEXIT_NOTICED_US"), 10, 64); err == nil {
		r.NoticedAfter = history.Micros(time.Duration(us) * time.Microsecond)
	}
	return r
}

func (h Host) writer(reg *registry.Registry, c config.Config) history.Writer {
	host, _ := os.Hostname()
	w := history.Writer{Runtime: reg.Path(), Host: host, Command: []string{h.Self, history.AppendVerb}}
	if c.Log.File {
		w.State = history.StateDir(h.getenv)
	}
	return w
}

// syslog is nil where the site does not want it.
func (h Host) syslog(c config.Config) *history.Syslog {
	if !c.Log.Syslog {
		return nil
	}
	return &history.Syslog{Socket: history.DevLog, Tag: "xexit", PID: os.Getpid()}
}

// client is the thin client that the user sat at, if the session has one.
func client(e registry.Entry) string {
	for _, m := range e.Markers {
		if m.Name == "LTSP_CLIENT_HOSTNAME" {
			return m.Value
		}
	}
	return ""
}

// Claim implements engine.Claimer.
func (r *run) Claim() (func(), error) {
	id := r.target.entry.ID
	release, err := r.reg.BeginEnd(id)
	if err != nil {
		return nil, err
	}
	if !r.target.known {
		return release, nil
	}
	// Read again under the claim: an end that was under way a moment ago may
	// have finished since.
	l, err := r.reg.Find(id)
	if err == nil && l.Phase == session.PhaseEnded {
		release()
		return nil, ErrEnded
	}
	if err := r.reg.SetPhase(id, session.PhaseEnding, linux.BootTicks()); err != nil && !errors.Is(err, registry.ErrNotFound) {
		r.log.Warn("mark the session as ending", "session", id, "error", err)
	}
	return release, nil
}

// ErrEnded is wrapped where the end was carried out before.
var ErrEnded = errors.New("the session has ended")

// summary says what ended, and how that was noticed.
func (r *run) summary() string {
	text := fmt.Sprintf("session %s ended: %s", r.target.entry.ID.Short(), r.record.Reason)
	if r.record.Noticed != "" {
		text += ": " + r.record.Noticed
	}
	if r.record.NoticedAfter > 0 {
		text += fmt.Sprintf(", decided within %.1f ms", float64(r.record.NoticedAfter)/1e6)
	}
	return text
}

// Begin implements engine.Recorder.
func (r *run) Begin() error {
	r.tell(Step{Kind: StepBegin, What: r.summary()})
	r.send(history.Begin)
	return r.writer.Begin(r.record)
}

// Done implements engine.Recorder. What is not verified may be ended once
// more, so only a verified end is final for the registry.
func (r *run) Done(result engine.Result) error {
	for _, p := range result.Problems {
		r.record.Problems = append(r.record.Problems, p.Error())
	}
	if r.target.known && result.Exit() == engine.ExitDone {
		if err := r.reg.SetPhase(r.target.entry.ID, session.PhaseEnded, 0); err != nil && !errors.Is(err, registry.ErrNotFound) {
			r.log.Warn("mark the session as ended", "session", r.target.entry.ID, "error", err)
		}
	}
	r.record.Event, r.record.Time = history.Done, time.Now()
	r.send(history.Done)
	return r.writer.Done(context.Background(), r.record)
}

// hooksOf and membersOf give the engine the two halves of a run under the
// names that its interfaces use.
type (
	hooksOf   struct{ *run }
	membersOf struct{ *run }
)

// End implements engine.Members.
func (r membersOf) End(ctx context.Context) (engine.Left, error) {
	grace := r.config.Grace
	if r.req.Grace > 0 {
		grace = r.req.Grace
	}
	o := reap.Options{Grace: grace, Events: r.progress}
	if r.target.group != nil {
		o.Group = r.target.group
	}
	var report reap.Report
	var err error
	r.target.urgently(func() {
		report, err = reap.Run(ctx, r.target.fs, r.looker, r.looker.inBound, o)
	})
	r.looker.fill(&r.record, report)
	err = errors.Join(err, r.target.awaitLeader(r.config.PAMClose), r.stopManager(ctx))
	return engine.Left{Survivors: len(r.record.Survivors), Verified: report.Verified}, err
}

func (r *run) progress(e reap.Event) {
	if r.req.Progress == nil {
		return
	}
	if step, ok := r.looker.step(e); ok {
		r.tell(step)
	}
}

func (r *run) tell(s Step) {
	if r.req.Progress == nil {
		return
	}
	if now, err := linux.Now(); err == nil {
		s.Clock = now.Monotonic
	}
	r.req.Progress(s)
}

// send tells the system's log. Its failure is no problem of the end's: the
// record has more.
func (r *run) send(event history.Event) {
	if r.syslog == nil {
		return
	}
	line := r.record
	line.Event = event
	if err := r.syslog.Send(line); err != nil {
		r.log.Info("syslog", "error", err)
	}
}

// warn tells of what failed while the end went on.
func (r *run) warn(problem error) {
	r.log.Warn("problem while ending", "session", r.target.entry.ID, "error", problem)
	if r.syslog != nil {
		if err := r.syslog.Warn(r.record, problem.Error()); err != nil {
			r.log.Info("syslog", "error", err)
		}
	}
}

// dismissWatcher asks the watcher of a session that was ended by request to
// look and leave; one that waits for this very end does so by itself.
func (r *run) dismissWatcher() {
	watcher := r.target.entry.Watcher
	if watcher.IsZero() || watcher.PID == os.Getppid() || watcher == r.target.entry.Subreaper {
		return
	}
	ref, err := r.target.fs.Open(watcher.PID)
	if err != nil {
		return // it has left
	}
	defer ref.Close()
	if ref.ID() != watcher {
		return
	}
	if err := ref.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, proc.ErrGone) {
		r.log.Info("ask the watcher to leave", "pid", watcher.PID, "error", err)
	}
}
