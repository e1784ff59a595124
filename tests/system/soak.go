package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// Soak is how much a daemon has to stand.
type Soak struct {
	Sessions int // logins by ssh with leftovers, which end
	AtOnce   int
	Displays int // logins with a display of their own, open at once
	Lost     int // of which so many lose it, one a second
	Say      func(format string, args ...any)
}

// tally is what has come of it so far.
type tally struct {
	mu     sync.Mutex
	ended  []string // logind's ids of the logins that have ended
	took   []time.Duration
	wrong  []string
	opened atomic.Int64
}

func (t *tally) fault(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
}

func (t *tally) end(id string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = append(t.ended, id)
	t.took = append(t.took, took)
}

func (t *tally) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := slices.Sorted(slices.Values(t.took))
	if len(took) == 0 {
		return fmt.Sprintf("opened %d, ended 0, wrong %d", t.opened.Load(), len(t.wrong))
	}
	return fmt.Sprintf("opened %d, ended %d, wrong %d; gone after %s (median), %s (worst)",
		t.opened.Load(), len(took), len(t.wrong), millis(took[len(took)/2]), millis(took[len(took)-1]))
}

// Run soaks a daemon in a container of its own. What is not as it must be comes
// back in words; the error is the test's own.
func (s Soak) Run(image, stage string) (wrong []string, err error) {
	h, err := NewHost(image, stage, Daemon)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	t := &tally{}
	// The first ones fill what is filled once.
	if err := s.sessions(h, t, 2*s.AtOnce); err != nil {
		return nil, err
	}
	before, err := h.idle()
	if err != nil {
		return nil, err
	}
	s.Say("at rest, before: %s", before)
	stop := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { s.tell(h, t, stop) })
	err = errors.Join(s.sessions(h, t, s.Sessions), s.displays(h, t))
	close(stop)
	telling.Wait()
	if err != nil {
		return t.wrong, fmt.Errorf("%w\n%s", err, h.journal())
	}
	s.check(h, t)
	after, err := h.idle()
	if err != nil {
		return t.wrong, err
	}
	s.Say("%s", t.line())
	s.Say("at rest, after:  %s", after)
	open := s.Displays - s.Lost // logins that are still there: a descriptor each, of the leader
	if after.FDs > before.FDs+open+4 || after.Threads > before.Threads+8 || after.RSS > before.RSS+before.RSS/2+(16<<10) {
		t.fault("the daemon has grown: %s, and was %s", after, before)
	}
	return t.wrong, nil
}

// sessions are n logins by ssh, so many at once.
func (s Soak) sessions(h *Host, t *tally, n int) error {
	return parallel(n, s.AtOnce, func(i int) error {
		user := []string{"alice", "bob"}[i%2]
		name := h.name("s")
		in, err := h.m.SSHPlain(name, user)
		if err != nil {
			return err
		}
		t.opened.Add(1)
		id, err := h.scoped(in)
		if err != nil {
			return err
		}
		refs, err := h.litter(in, name)
		defer h.m.Forget(name)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := in.Leader.Signal(unix.SIGTERM); err != nil {
			return err
		}
		for _, r := range refs {
			if !r.Gone(machine.Guard) {
				t.fault("login %s: process %d lives", id, r.PID)
			}
		}
		t.end(id, time.Since(begin))
		return nil
	})
}

// scoped is logind's id of a login, once it is in a control group of its own.
func (h *Host) scoped(s *machine.Session) (id string, err error) {
	err = machine.Until("the login "+s.Name+" is in a scope of its own", func() (bool, error) {
		var err error
		id, err = h.m.LoginID(s)
		return err == nil, nil
	})
	return id, err
}

// litter has a login leave some behind, all of one name.
func (h *Host) litter(in *machine.Session, name string) ([]*machine.Ref, error) {
	out, err := h.m.Run(in.Socket, agent.Request{
		Argv: []string{"/bin/sh", "-ec", `exec >/dev/null 2>&1 </dev/null
			setsid $P $N obedient & env -i setsid $P $N obedient & sudo setsid -f $P $N obedient; setsid $P $N termignorer &`},
		UID: -1, Add: []string{"P=" + machine.Leftover, "N=" + name},
	})
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("leave some behind: exit status %d", out.Status)
	}
	if err != nil {
		return nil, err
	}
	return h.m.Await(name, 4)
}

// displays opens logins with a display each, and takes one display a second
// away from them.
func (s Soak) displays(h *Host, t *tally) error {
	open := make([]*Login, s.Displays)
	if err := parallel(s.Displays, 4, func(i int) (err error) {
		open[i], err = h.Open(kindOf("Xvnc"), []string{"alice", "bob"}[i%2])
		t.opened.Add(1)
		return err
	}); err != nil {
		return err
	}
	if s.Displays > 0 {
		usage, err := h.usage()
		s.Say("%d displays are open: %s %v", s.Displays, usage, err)
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	var ending sync.WaitGroup
	defer ending.Wait()
	for _, l := range open[:s.Lost] {
		<-second.C
		watch, err := h.watch(l.Group)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := l.Server.Signal(unix.SIGKILL); err != nil {
			return err
		}
		ending.Go(func() {
			defer watch.close()
			took, empty := watch.wait(begin, machine.Guard)
			if !empty {
				t.fault("login %s lost its display and is not empty", l.ID)
			}
			t.end(l.ID, took)
		})
	}
	ending.Wait()
	for _, l := range open[s.Lost:] {
		if !l.Session.Leader.Alive() || !l.Server.Alive() {
			t.fault("login %s was ended, and had its display", l.ID)
		}
	}
	return nil
}

// check compares what is on record with what has ended.
func (s Soak) check(h *Host, t *tally) {
	missing := map[string]bool{}
	err := machine.Until("every end is on record", func() (bool, error) {
		all, err := h.records()
		if err != nil {
			return false, err
		}
		clear(missing)
		for _, id := range t.ended {
			missing[id] = true
		}
		for _, r := range all {
			if r.Event == "done" {
				delete(missing, r.Login)
			}
		}
		return len(missing) == 0, nil
	})
	if err != nil {
		t.fault("%v: %d sessions missed: %v", err, len(missing), missing)
		return
	}
	all, err := h.records()
	if err != nil {
		t.fault("%v", err)
	}
	count := map[string]int{}
	for _, r := range all {
		count[r.Event+" "+r.Login]++
		if r.Event == "done" && !r.Verified {
			t.fault("the end of login %s is not verified: %+v", r.Login, r)
		}
	}
	for _, id := range t.ended {
		if count["begin "+id] != 1 || count["done "+id] != 1 {
			t.fault("login %s: %d begun, %d done", id, count["begin "+id], count["done "+id])
		}
	}
}

// tell prints how it stands, now and then.
func (s Soak) tell(h *Host, t *tally, stop <-chan struct{}) {
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			usage, err := h.usage()
			s.Say("%s; %s %v", t.line(), usage, err)
		case <-stop:
			return
		}
	}
}

// parallel calls f for 0 to n-1, so many at once, until one fails.
func parallel(n, atOnce int, f func(int) error) error {
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var mu sync.Mutex
	var failed error
	var running sync.WaitGroup
	for range min(n, atOnce) {
		running.Go(func() {
			for i := range next {
				mu.Lock()
				over := failed != nil
				mu.Unlock()
				if over {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	running.Wait()
	return failed
}

// usage is what the daemon needs.
type usage struct {
	FDs, Threads int
	RSS          int // KiB
	CPU          time.Duration
}

func (u usage) String() string {
	return fmt.Sprintf("daemon: %d descriptors, %d threads, %.1f MiB, %s of processor", u.FDs, u.Threads, float64(u.RSS)/1024, u.CPU.Round(10*time.Millisecond))
}

func (h *Host) usage() (u usage, err error) {
	main, err := h.main()
	if err != nil {
		return u, err
	}
	dir := fmt.Sprintf("/proc/%d", main.Host)
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return u, err
	}
	u.FDs = len(fds)
	u.Threads = number(dir+"/status", "Threads:")
	u.RSS = number(dir+"/status", "VmRSS:")
	u.CPU, err = processor(dir + "/stat")
	return u, err
}

// idle is the same when no login is known and nothing is under way.
func (h *Host) idle() (u usage, err error) {
	err = machine.Until("the daemon has nothing to do", func() (bool, error) {
		for _, dir := range []string{"/run/xexit/ends", "/run/xexit/sessions"} {
			entries, err := os.ReadDir(h.m.Path(dir))
			if err != nil || dir == "/run/xexit/ends" && len(entries) > 0 {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return u, err
	}
	return h.usage()
}
