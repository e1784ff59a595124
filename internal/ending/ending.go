// Package ending is the composition root of `xexit end` in user mode: it finds
// the session that is meant, refuses what must not be ended, and lets the
// engine run the end with the real configuration, hooks, processes and
// history. `xexit ps` and --dry-run ask it for the same plan without carrying
// it out. It logs; the packages below return errors.
package ending

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/config"
	"xexit/internal/history"
	"xexit/internal/linux"
	"xexit/internal/member"
	"xexit/internal/policy"
	"xexit/internal/proc"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// Request is what `xexit end` was asked to do.
type Request struct {
	Session string         // id or its beginning; "": the session of the environment
	Reason  session.Reason // "": as the environment says, else requested
	Scope   session.Scope  // "": as configured
	Grace   time.Duration  // 0: as configured
	Config  string         // a file instead of the system's configuration
	// Waiter is the process that waits for this one at the terminal, zero if
	// none does: it is xexit too, and spared.
	Waiter int
	// Progress hears of each step as it is taken; may be nil.
	Progress func(Step)
}

// Step is one thing that happened during an end, most often to one process.
type Step struct {
	Clock time.Duration  `json:"clock"` // CLOCK_MONOTONIC, ns
	At    time.Duration  `json:"at"`    // since the end of members began, ns
	Kind  StepKind       `json:"kind"`
	What  string         `json:"what"` // in words
	ID    session.ProcID `json:"id,omitzero"`
	Comm  string         `json:"comm,omitempty"`
}

// StepKind says what a step is about.
type StepKind string

// The kinds of steps, in the order in which an end comes to them.
const (
	StepBegin    StepKind = "begin"    // What: how the end was noticed
	StepHook     StepKind = "hook"     // one was run; What: its name and what came of it
	StepSignal   StepKind = "signal"   // What: its name; an error if it could not be sent
	StepGone     StepKind = "gone"     // a process is dead
	StepGrace    StepKind = "grace"    // is over
	StepSweep    StepKind = "sweep"    // a round of STOP begins
	StepRefused  StepKind = "refused"  // it is outside the bound
	StepSurvived StepKind = "survived" // What: why
	StepVerified StepKind = "verified" // a clean look found nobody
)

// Host is the machine as an end sees it.
type Host struct {
	Environ []string
	Proc    string // root of proc(5)
	Root    string // root of the file system, for what logind and /etc say
	Self    string // xexit-main, for the stages it runs of itself
	UID     uint32 // real uid
	EUID    uint32
	Config  config.Paths
	// Where root's daemon keeps claims and records: for as long as the machine
	// runs, and for good.
	RunDir, StateDir string
}

// ThisHost is the machine that the program runs on. self is xexit-main's path.
func ThisHost(environ []string, self string) Host {
	return Host{
		Environ: environ,
		Proc:    "/proc",
		Root:    "/",
		Self:    self,
		UID:     uint32(os.Getuid()),
		EUID:    uint32(os.Geteuid()),
		Config:  config.SystemPaths(),
		// As systemd tells a service of it (systemd.exec(5)).
		RunDir:   orElse(Getenv(environ, "RUNTIME_DIRECTORY"), history.SystemRuntime),
		StateDir: orElse(Getenv(environ, "STATE_DIRECTORY"), history.SystemState),
	}
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// ErrUsage is wrapped by errors that the caller can mend: exit status 2.
var ErrUsage = errors.New("nothing was ended")

func (h Host) getenv(name string) string { return Getenv(h.Environ, name) }

// Getenv is getenv(3) over a list; the last setting counts, as for os/exec.
func Getenv(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// subject is a session that is meant.
type subject struct {
	registry.Entry
	known bool   // it is in the registry
	login string // logind's id, if it is a whole login; else ""
}

// target is a session that can be looked at: what it is and how to find its members.
type target struct {
	entry  registry.Entry
	known  bool
	login  string
	group  *cgroup.Group // of the login; nil: there is none
	finder *member.Finder
	bound  member.Bound
	others func() ([]registry.Entry, error) // the user's other live sessions, now
	fs     *proc.FS
	rules  []policy.Rule
	user   string
	euid   uint32 // ours
}

func (t *target) close() {
	t.finder.Close()
	if t.group != nil {
		_ = t.group.Close()
	}
	_ = t.fs.Close()
}

// open prepares to look at a session. self are processes of xexit that belong
// to nobody's session.
func (h Host) open(r *registry.Registry, s subject, c config.Config, scope session.Scope, waiter int) (*target, error) {
	fs, err := proc.New(h.Proc)
	if err != nil {
		return nil, err
	}
	e := s.Entry
	h.addMarkers(&e, c.Markers)
	t := &target{entry: e, known: s.known, login: s.login, fs: fs, user: userName(e.UID), euid: h.EUID}
	self, err := h.self(fs, e, waiter)
	if err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	t.others = func() ([]registry.Entry, error) { return h.others(r, e) }
	t.rules, _ = c.Rules(e.UID) // what is odd about them, `xexit check` says
	root := os.DirFS(h.Root)
	t.bound = bound(e, scope, h.EUID)
	if h.EUID != 0 {
		// Without them what runs under the user's own subordinate uids is
		// somebody else's: an error spares it. Root, whom kill(2) does not
		// limit, does not rely on a file for whose a process is.
		t.bound.SubUIDs, _ = member.SubUIDs(root, t.user, e.UID)
	}
	wanted := member.Target{
		Entry:     e, // the other sessions: see looker
		Scope:     scope,
		Bound:     t.bound,
		Self:      self,
		Delegated: c.Delegated,
		Root:      root,
	}
	if t.login != "" {
		if wanted.Services, err = h.servicesIn(&e, c); err != nil {
			return nil, errors.Join(err, fs.Close())
		}
		if t.group, err = h.scopeGroup(&e); err != nil {
			return nil, errors.Join(err, fs.Close())
		}
		wanted.Login, wanted.Exempt, wanted.OtherUsers = true, exempt(c), c.Daemon.OtherUsers
		if t.group != nil {
			wanted.InScope = t.group.PIDs
		}
		t.others = func() ([]registry.Entry, error) { return nil, nil } // a login is whole
	}
	t.finder = member.NewFinder(fs, wanted)
	return t, nil
}

// addMarkers adds the ambient markers that the configuration names. Their
// values are known only in the environment of the session itself.
func (h Host) addMarkers(e *registry.Entry, names []string) {
	if h.getenv(session.MarkerName) != string(e.ID) {
		return
	}
	known := map[string]bool{}
	for _, m := range e.Markers {
		known[m.Name] = true
	}
	e.Markers = slices.Clone(e.Markers)
	for _, name := range names {
		if value := h.getenv(name); value != "" && !known[name] {
			e.Markers = append(e.Markers, session.Marker{Name: name, Value: value})
		}
	}
}

// bound is what no evidence reaches beyond. A session below a subreaper is all
// below it, so nothing else of the user's need be in reach; if the subreaper
// is dead, its children went elsewhere, and the user's processes are the bound
// as for any other session. Root without a subreaper is limited to the
// session's user.
func bound(e registry.Entry, scope session.Scope, euid uint32) member.Bound {
	b := member.Bound{UID: e.UID, Subreaper: e.Subreaper}
	if e.Subreaper.IsZero() {
		return b
	}
	start, err := linux.Birth(e.Subreaper.PID)
	gone := errors.Is(err, linux.ErrGone) || err == nil && start != e.Subreaper.Start
	b.ByDescentOnly = euid == 0 || scope == session.ScopeSession && !gone
	return b
}

// self lists xexit's own processes: this one, the one that waits for it at the
// terminal, the session's watcher and its subreaper.
func (h Host) self(fs *proc.FS, e registry.Entry, waiter int) ([]session.ProcID, error) {
	me, err := fs.Stat(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("who am I: %w", err)
	}
	self := []session.ProcID{{PID: me.PID, Start: me.Start}}
	if waiter != 0 {
		if w, err := fs.Stat(waiter); err == nil {
			self = append(self, session.ProcID{PID: w.PID, Start: w.Start})
		}
	}
	for _, id := range []session.ProcID{e.Watcher, e.Subreaper} {
		if !id.IsZero() {
			self = append(self, id)
		}
	}
	return self, nil
}

// others are the user's other live sessions. A registry that cannot be read
// whole would hide one of them, so the error ends the attempt.
func (h Host) others(r *registry.Registry, e registry.Entry) ([]registry.Entry, error) {
	listed, err := r.List()
	if err != nil {
		return nil, fmt.Errorf("list the user's other sessions: %w", err)
	}
	var others []registry.Entry
	for _, l := range listed {
		if l.ID != e.ID && l.Live {
			others = append(others, l.Entry)
		}
	}
	return others, nil
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// Detach takes this process out of the terminal's session, which may be part
// of what ends. It reports false where that takes a child.
func Detach() bool { return linux.LeadSession() }

// Plan is what an end of a session would do now.
type Plan struct {
	Entry registry.Entry
	Known bool
	Login string // logind's id, if a whole login would end
	User  string
	policy.Plan
}

// Look plans the end of the session that r asks for and carries out nothing.
func (h Host) Look(ctx context.Context, req Request) (Plan, error) {
	c, err := h.load(req)
	if err != nil {
		return Plan{}, err
	}
	reg, err := h.registry()
	if err != nil {
		return Plan{}, err
	}
	s, err := h.resolve(reg, req.Session)
	if err != nil {
		return Plan{}, err
	}
	return h.look(ctx, reg, s, c, req)
}

func (h Host) look(ctx context.Context, reg *registry.Registry, s subject, c config.Config, req Request) (Plan, error) {
	t, err := h.open(reg, s, c, scopeOf(req, c), req.Waiter)
	if err != nil {
		return Plan{}, err
	}
	defer t.close()
	l := newLooker(t, h.reason(req))
	if err := l.survey(ctx); err != nil {
		return Plan{}, err
	}
	return Plan{Entry: t.entry, Known: s.known, Login: s.login, User: t.user, Plan: l.plan}, nil
}

// Sessions plans the end of each of the user's sessions, oldest first; for
// root also of each login of an ordinary user.
func (h Host) Sessions(ctx context.Context, req Request) ([]Plan, error) {
	c, err := h.load(req)
	if err != nil {
		return nil, err
	}
	reg, err := h.registry()
	if err != nil {
		return nil, err
	}
	listed, err := reg.List()
	if err != nil {
		return nil, err
	}
	var plans []Plan
	for _, l := range listed {
		if !l.Live {
			continue // its end is under way, or its watcher died over it
		}
		p, err := h.look(ctx, reg, subject{Entry: l.Entry, known: true}, c, req)
		if err != nil {
			return nil, fmt.Errorf("session %s: %w", l.ID, err)
		}
		plans = append(plans, p)
	}
	if h.EUID != 0 {
		return plans, nil
	}
	logins, err := h.lookAtLogins(ctx, reg, c, req)
	return append(plans, logins...), err
}

func (h Host) load(req Request) (config.Config, error) {
	paths := h.Config
	if req.Config != "" {
		paths = config.Paths{File: req.Config}
	}
	c, err := config.Load(paths)
	if err != nil {
		return config.Config{}, fmt.Errorf("%w: the configuration is not valid, so nobody can be told from anybody: %w", ErrUsage, err)
	}
	return c, nil
}

func (h Host) registry() (*registry.Registry, error) {
	dir, err := registry.Dir(h.getenv, h.UID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return registry.Open(dir)
}

func (h Host) reason(req Request) session.Reason {
	if req.Reason != "" {
		return req.Reason
	}
	if text := h.getenv("XEXIT_REASON"); text != "" {
		r, _ := session.ParseReason(text) // what a later version says is other
		return r
	}
	return session.ReasonRequested
}

func scopeOf(req Request, c config.Config) session.Scope {
	if req.Scope != "" {
		return req.Scope
	}
	return c.Scope
}
