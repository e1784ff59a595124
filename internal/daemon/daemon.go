// Package daemon is the composition root of system mode: it learns of logins
// from a source, of their leaders from the kernel and of their displays from a
// worker, keeps the state of each in a file, and has one process an end carry
// out what is due. It ends nobody itself, parses nothing that a user controls,
// and logs; what a login's life is belongs to package login, how one is ended
// to package ending.
//
//	logind, PAM hook ──look again──┐
//	leaders' pidfds ───────exited──┤      facts             actions
//	display worker ──ended, opened─┼──▶ one goroutine ──▶ state file, then:
//	clients ───────────────request─┤    (login.Next)       watch, or xexit-main __end-login
//	ends' processes ──step, result─┘                       (one an end; none waits for another)
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"xexit/internal/config"
	"xexit/internal/ipc"
	"xexit/internal/linux"
	"xexit/internal/login"
	"xexit/internal/member"
	"xexit/internal/proc"
)

// Source tells of logins. It says no more than which to look at again: the
// truth is read each time, so a signal that is lost harms nobody.
type Source interface {
	// Watch calls changed("") once it has subscribed (look at everything), then
	// changed(id) whenever a login opened, changed or vanished. It returns when
	// ctx is over, or with an error when it can watch no longer.
	Watch(ctx context.Context, changed func(id string)) error
	// List and Read are what is known now. A list with an error is not whole.
	// fs.ErrNotExist: there is no such login.
	List() ([]member.Login, error)
	Read(id string) (member.Login, error)
}

// Options are what a daemon is made of.
type Options struct {
	Self string // xexit-main
	Proc string // root of proc(5)
	Root string // root of the file system, for login.defs(5)
	Dir  string // runtime directory
	// StateDir is where records last.
	StateDir string
	Version  string
	Config   config.Paths // to be read now and at each reload
	Source   Source
	// SourceName is what people call it: "logind", "pam".
	SourceName string
	Displays   Displays // nil: nobody watches any
	Log        *slog.Logger
	Stderr     *os.File // of the ends' processes
	// Stop is how long a daemon that is asked to stop waits for ends under way.
	Stop time.Duration
}

// ErrConfig is wrapped where the configuration does not let the daemon start.
var ErrConfig = errors.New("the configuration is not valid, so nobody can be told from anybody")

// Daemon is one that runs. All fields are the main goroutine's.
type Daemon struct {
	o        Options
	config   config.Config
	rejected error // why the newest configuration is not in force
	boot     string
	procs    *proc.FS
	states   stateDir
	book     map[string]*entry
	facts    []fact // that are still to be told
	telling  bool
	queue    []string // ends that are due and wait for young ones
	dirty    *dirty
	leaders  *leaders
	wall     wall
	ends     chan endEvent
	calls    chan func()   // of others, to be done by the main goroutine
	over     chan struct{} // closed when nobody hears any of them any more
	health   health        // of the source; has a lock of its own
	recheck  chan int      // has room for one: the host is to be examined, with so many keep rules

	// What is for those who ask only.
	since     time.Time
	lookouts  *lookouts               // who is in logins that are over; has a lock of its own
	left      map[string]member.Login // users' logins that are not taken on
	conflicts []ipc.Conflict
	worker    health // of displays
	counts    map[string]int64
	notify    notifier
}

// entry is one login and what the daemon does for it.
type entry struct {
	state   login.State
	end     *end          // the process that ends it; nil: none
	relook  time.Duration // CLOCK_BOOTTIME; look again then, 0: no need
	relooks int
	watched bool // its leader is
	orphan  bool // the source does not know it any more, but its leader lives

	seen      member.Login // as the source had it last
	listeners []*listener
}

// Run is the daemon until ctx is over or a signal asks it to stop. It returns
// an error if it could not start, or not go on.
func Run(ctx context.Context, o Options) error {
	d, err := open(o)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

func (d *Daemon) run(ctx context.Context) error {
	defer d.states.release()
	defer d.leaders.close()
	defer d.procs.Close() //nolint:errcheck // a directory
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.resume()
	var others sync.WaitGroup
	d.recheck <- len(d.config.Keep)
	others.Go(func() { d.watch(ctx) })
	others.Go(func() { d.serve(ctx) })
	others.Go(func() { d.examine(ctx) })
	if d.o.Displays != nil {
		others.Go(func() { d.runDisplays(ctx) })
	}
	d.notify.send("READY=1")
	d.loop(ctx, signals)
	close(d.over)
	cancel()
	others.Wait()
	return nil
}

func open(o Options) (*Daemon, error) {
	c, err := config.Load(o.Config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	boot, err := bootID(o.Proc)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		o: o, config: c, boot: boot,
		book: make(map[string]*entry), dirty: newDirty(), ends: make(chan endEvent), calls: make(chan func()), over: make(chan struct{}),
		since: time.Now(), left: make(map[string]member.Login), counts: make(map[string]int64),
		notify: newNotifier(o.Log), lookouts: newLookouts(o.Self, o.Log), recheck: make(chan int, 1),
	}
	if d.procs, err = proc.New(o.Proc); err != nil {
		return nil, err
	}
	if err := leaveLogin(o.Proc, d.procs); err != nil {
		return nil, err
	}
	if d.states, err = openStates(o.Dir); err != nil {
		return nil, err
	}
	// Two of them would end each login twice over.
	if err := d.states.claim(); err != nil {
		return nil, err
	}
	d.wall.of(time.Time{}) // what is written from now on has a time
	if d.leaders, err = newLeaders(); err != nil {
		return nil, err
	}
	return d, nil
}

// loop is the daemon's life: one fact at a time.
func (d *Daemon) loop(ctx context.Context, signals <-chan os.Signal) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	watchdog := d.notify.watchdog()
	for {
		d.pump()
		timer.Reset(d.until())
		select {
		case <-d.dirty.wake:
			for id, told := range d.dirty.take() {
				d.look(id, told)
			}
		case x := <-d.leaders.exited:
			d.leaderExited(x)
		case e := <-d.ends:
			d.hear(e)
		case f := <-d.calls:
			f()
		case e := <-d.displayEvents():
			d.shown(e)
		case <-timer.C:
			d.tick()
		case <-watchdog:
			d.notify.send("WATCHDOG=1")
		case s := <-signals:
			if s == syscall.SIGHUP {
				d.reload()
				continue
			}
			d.stop(ctx, signals)
			return
		case <-ctx.Done():
			d.stop(ctx, signals)
			return
		}
	}
}

// resume takes over what an earlier daemon has left: every end that is due
// happens, and nobody stays frozen.
func (d *Daemon) resume() {
	found, problems := d.states.load(d.boot)
	for _, p := range problems {
		d.o.Log.Error("state file", "error", p)
	}
	for _, s := range found {
		d.book[s.ID] = &entry{state: s}
	}
	for _, err := range thaw(d.o.Proc, found) {
		d.o.Log.Error("thaw", "error", err)
	}
	for _, s := range found {
		if s.Phase != login.Open {
			d.o.Log.Info("login resumed", "login", s.ID, "user", s.User, "phase", s.Phase)
		}
		d.tell(s.ID, login.Fact{Kind: login.Resumed})
	}
}

// watch keeps the source watched.
func (d *Daemon) watch(ctx context.Context) {
	for attempt := 1; ; attempt++ {
		started := time.Now()
		err := d.o.Source.Watch(ctx, func(id string) {
			d.health.well()
			d.dirty.add(id, d.now())
		})
		if ctx.Err() != nil {
			return
		}
		d.health.ill(err)
		d.o.Log.Warn("logins cannot be watched; trying again", "error", err)
		if time.Since(started) > time.Minute {
			attempt = 1
		}
		select {
		case <-time.After(login.Backoff(attempt)):
		case <-ctx.Done():
			return
		}
	}
}

// reload reads the configuration anew. One that is not valid changes nothing.
func (d *Daemon) reload() {
	d.notify.reloading()
	defer d.notify.send("READY=1")
	c, err := config.Load(d.o.Config)
	if d.rejected = err; err != nil {
		d.o.Log.Error("the new configuration is not valid: the old one stays in force", "error", err)
		return
	}
	d.config = c
	select {
	case <-d.recheck: // it has not been looked at yet
	default:
	}
	d.recheck <- len(c.Keep)
	d.o.Log.Info("configuration reloaded", "files", strings.Join(c.Sources, " "))
	for id := range d.book {
		d.tell(id, login.Fact{Kind: login.Reloaded})
	}
	d.dirty.add("", 0)
}

// stop waits for the ends that are under way. What is not finished by then, or
// at a second signal, the next daemon takes up.
func (d *Daemon) stop(ctx context.Context, signals <-chan os.Signal) {
	d.notify.send("STOPPING=1")
	enough := time.NewTimer(d.o.Stop)
	defer enough.Stop()
	for d.running() > 0 {
		select {
		case e := <-d.ends:
			d.hear(e)
		case f := <-d.calls:
			f()
		case s := <-signals:
			if s != syscall.SIGHUP {
				return
			}
		case <-enough.C:
			d.o.Log.Warn("stopping while logins are being ended: the next start goes on with them", "ends", d.running())
			return
		}
	}
}

func bootID(procRoot string) (string, error) {
	text, err := os.ReadFile(procRoot + "/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("which boot is this: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (d *Daemon) now() time.Duration {
	clocks, err := linux.Now()
	if err != nil {
		return 0 // does not happen: both clocks are older than anything we run on
	}
	return clocks.Boot
}
