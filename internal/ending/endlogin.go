package ending

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path"
	"slices"
	"syscall"
	"time"

	"xexit/internal/config"
	"xexit/internal/engine"
	"xexit/internal/history"
	"xexit/internal/linux"
	"xexit/internal/logindefs"
	"xexit/internal/member"
	"xexit/internal/reap"
	"xexit/internal/session"
)

// EndLogin ends the login that the request on in names, tells out of each step
// and of the result (see stepper), and returns the exit status. Everything
// comes from the request, the kernel and the record; nothing that the user
// controls is read.
//
// It may be killed at any instant and run again with the same request: then it
// does what is left to do, and the record has the end once. Polite signals are
// noted and ignored.
func (h Host) EndLogin(ctx context.Context, in io.Reader, out io.Writer, log *slog.Logger) int {
	defer HoldSignals(log)()
	defer collectLate()()
	// Nobody may listen any more: that is no reason to die of it.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	go func() { _ = linux.GrowFDTable(largeSession) }()

	req, rest, err := readLoginRequest(in)
	steps := newStepper(out, rest, session.Steps())
	if req.AuditOnly {
		steps.order = session.AuditSteps()
	}
	if err == nil {
		err = req.check(h)
	}
	var release func()
	if err == nil {
		release, err = h.claimLogin(req.Login)
	}
	if err != nil {
		return steps.result(refusal(err))
	}
	defer release()
	steps.reach(session.StepClaim)
	if done, err := h.finished(ctx, &req); done != nil {
		if err != nil {
			log.Warn("bring the record of an earlier attempt into the lasting file", "login", req.Login, "error", err)
		}
		steps.reach(session.StepDone)
		return steps.result(resultOf(*done))
	}
	l, err := h.openLogin(req, steps, log)
	if err != nil {
		log.Warn("login not ended", "login", req.Login, "error", err)
		return steps.result(refusal(err))
	}
	defer l.target.close()
	return steps.result(l.carryOut(ctx))
}

// refusal is the result where nothing was done.
func refusal(err error) LoginResult {
	r := LoginResult{Exit: int(engine.ExitFailed), Problems: []string{err.Error()}}
	if errors.Is(err, ErrUsage) {
		r.Exit = int(engine.ExitUsage)
	}
	return r
}

// finished is the record of the end if an earlier attempt came to its last
// step, and sees that it is in the lasting file too. That one is not read here:
// its disk may hang.
func (h Host) finished(ctx context.Context, req *LoginRequest) (*history.Record, error) {
	w := h.loginWriter(req.config())
	found, err := history.Find(req.Record, history.RuntimeFile(w.Runtime))
	if found.Done == nil {
		return nil, err
	}
	done := found.Record()
	return &done, w.Again(ctx, found)
}

func (r *LoginRequest) config() config.Config {
	if r.Config != nil {
		return *r.Config
	}
	return config.Default()
}

func (h Host) loginWriter(c config.Config) history.Writer {
	host, _ := os.Hostname()
	w := history.Writer{Runtime: h.RunDir, Host: host, Command: []string{h.Self, history.AppendVerb}, Once: true}
	if c.Log.File {
		w.State = h.StateDir
	}
	return w
}

// loginEnd is the end of one login under way: a run with the steps and the
// record-keeping of system mode. It implements the engine's interfaces.
type loginEnd struct {
	run
	asked  LoginRequest
	steps  *stepper
	closed time.Duration // of pam-close, that the leader has had
}

// openLogin is everything that can still forbid the end.
func (h Host) openLogin(req LoginRequest, steps *stepper, log *slog.Logger) (*loginEnd, error) {
	c := req.config()
	if req.Config == nil {
		var err error
		if c, err = h.load(Request{}); err != nil {
			return nil, err
		}
	}
	limits, err := loginDefs(path.Join(h.Root, logindefs.Path))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	s := subject{Entry: req.entry(), login: req.Login}
	if err := h.refuse(s, limits, c.Scope); err != nil {
		return nil, err
	}
	t, err := h.open(nil, s, c, c.Scope, 0)
	if err != nil {
		return nil, err
	}
	if req.User != "" {
		t.user = req.User
	}
	err = req.sameLogin(h, t.fs)
	if err == nil && !req.AuditOnly {
		err = t.leaveScope()
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return h.newLoginEnd(t, c, req, steps, log), nil
}

func (h Host) newLoginEnd(t *target, c config.Config, req LoginRequest, steps *stepper, log *slog.Logger) *loginEnd {
	l := &loginEnd{
		run: run{
			host: h, target: t, config: c, log: log, looker: newLooker(t, req.Reason),
			writer: h.loginWriter(c), syslog: h.syslog(c), record: h.newRecord(t.entry, req.Reason),
		},
		asked: req, steps: steps,
	}
	r := &l.record
	r.ID, r.User, r.Client = req.Record, t.user, req.Client
	r.Login, r.Type, r.Service = req.Login, req.Type, req.Service
	r.Noticed, r.NoticedAfter = req.Noticed, history.Micros(time.Duration(req.NoticedUS)*time.Microsecond)
	if req.AuditOnly {
		r.Kind = history.KindAudit
	}
	if me, err := t.fs.Stat(os.Getpid()); err == nil {
		r.By = me.ID()
	}
	return l
}

// carryOut runs the end to its last step.
func (l *loginEnd) carryOut(ctx context.Context) LoginResult {
	en := engine.Engine{Claimer: l, Recorder: l, Hooks: loginHooks{l}, Members: loginMembers{l}}
	if l.asked.AuditOnly {
		en.Hooks, en.Members = nil, loginAudit{l}
	}
	result, err := en.Run(ctx)
	if err != nil {
		return refusal(err)
	}
	for _, p := range result.Problems {
		l.warn(p)
	}
	r := resultOf(l.record)
	for _, p := range result.Problems { // that of the record itself is not in it
		if text := p.Error(); !slices.Contains(r.Problems, text) {
			r.Problems = append(r.Problems, text)
		}
	}
	return r
}

// Claim implements engine.Claimer: the login was claimed before anything was
// looked at.
func (l *loginEnd) Claim() (func(), error) { return func() {}, nil }

// Begin implements engine.Recorder. What an earlier attempt left frozen goes
// on: it may be what is to live.
func (l *loginEnd) Begin() error {
	before, err := history.Find(l.record.ID, history.RuntimeFile(l.writer.Runtime))
	l.record.Resumed = before.Begin != nil
	if l.record.Resumed && l.target.group != nil {
		err = errors.Join(err, l.target.group.Thaw())
	}
	if !l.record.Resumed {
		l.send(history.Begin)
	}
	err = errors.Join(err, l.writer.Begin(l.record))
	l.steps.reach(session.StepBegin)
	return err
}

// Done implements engine.Recorder.
func (l *loginEnd) Done(result engine.Result) error {
	for _, p := range result.Problems {
		l.record.Problems = append(l.record.Problems, p.Error())
	}
	l.record.Event, l.record.Time = history.Done, time.Now()
	l.send(history.Done)
	err := l.writer.Done(context.Background(), l.record)
	l.steps.reach(session.StepDone)
	return err
}

// resultOf sums a record up. An audit has nothing to verify.
func resultOf(r history.Record) LoginResult {
	result := LoginResult{Verified: r.Verified, Survivors: r.Survivors, Problems: r.Problems, Spared: len(r.Undecided)}
	for _, p := range r.Processes {
		switch p.Verdict {
		case session.VerdictKeep:
			result.Kept++
		case session.VerdictSpare:
			result.Spared++
		case session.VerdictEnd:
			if p.Ended != "" {
				result.Ended++
			}
		}
	}
	if r.Kind != history.KindAudit && (!r.Verified || len(r.Survivors) > 0) {
		result.Exit = int(engine.ExitSurvived)
	}
	return result
}

// loginMembers and the types below give the engine the parts of an end under
// the names that its interfaces use.
type loginMembers struct{ *loginEnd }

// End implements engine.Members.
func (l loginMembers) End(ctx context.Context) (engine.Left, error) {
	var report reap.Report
	var err error
	l.target.urgently(func() {
		err = l.keep(ctx)
		o := reap.Options{Grace: l.config.Grace, Events: l.heard}
		if l.target.group != nil {
			o.Group = l.target.group
		}
		var failed error
		report, failed = reap.Run(ctx, l.target.fs, l.looker, l.looker.inBound, o)
		err = errors.Join(err, failed)
	})
	l.steps.reach(session.StepSweep)
	l.looker.fill(&l.record, report)
	err = errors.Join(err, l.awaitClosing(ctx), l.stopManager(ctx))
	l.steps.reach(session.StepManager)
	l.removeGroup()
	l.steps.reach(session.StepVerified)
	return engine.Left{Survivors: len(l.record.Survivors), Verified: report.Verified}, err
}

// keep finds out who may live on while nobody can be born or change: the plan
// is exact then. Where no rule could keep anybody nothing needs to be frozen.
func (l *loginEnd) keep(ctx context.Context) (err error) {
	group := l.target.group
	if group != nil && len(l.target.rules) > 0 {
		defer func() {
			err = errors.Join(err, group.Thaw())
			l.steps.reach(session.StepThaw)
		}()
		if err := freeze(ctx, group); err != nil {
			return err
		}
		l.steps.reach(session.StepFreeze)
		if _, err := l.looker.Look(ctx); err != nil {
			return fmt.Errorf("look for who may live on: %w", err)
		}
		l.steps.reach(session.StepKeep)
		return nil
	}
	l.steps.reach(session.StepThaw)
	return nil
}

// heard turns what reap tells into steps.
func (l *loginEnd) heard(e reap.Event) {
	switch {
	case e.Kind == reap.KindSignal && e.Signal == "TERM":
		l.steps.reach(session.StepTerm)
	case e.Kind == reap.KindGrace:
		l.steps.reach(session.StepGrace)
	case e.Kind == reap.KindGroup && e.Signal == "KILL", e.Kind == reap.KindSignal && e.Signal == "KILL":
		l.steps.reach(session.StepKill)
	}
}

// removeGroup removes the control group of a login without logind, which is
// xexit's own. It stays if the leader is still in it.
func (l *loginEnd) removeGroup() {
	if l.target.group == nil || l.asked.Cgroup != member.HookCgroup(l.asked.Login) {
		return
	}
	if err := l.target.group.Remove(); err != nil {
		l.log.Info("remove the login's control group", "login", l.asked.Login, "error", err)
	}
}
