package system

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// Cell is one kind of login that ends in one way.
type Cell struct {
	Image string
	Ender Ender
	Kind  string
	End   End
	Last  bool // the login was its user's last
	Outcome
	Err error
}

// Outcome is what came of a cell.
type Outcome struct {
	Took  time.Duration // from the event until the login's control group was empty
	Empty bool          // it got empty in time
	Fates map[string]Fate
	Hurt  []string // of those beside
	// Reason is the daemon's, as it is on record.
	Reason string
}

// patience is how long one waits for the end to be over.
func (e Ender) patience() time.Duration {
	switch e {
	case Kill, Terminate:
		return 100 * time.Second // systemd's own KILL comes after 90
	case Nobody:
		return 3 * time.Second
	}
	return machine.Guard
}

// Stay is a login that a user has beside the one that ends, with every leftover
// a second time.
type Stay struct {
	login *Login
	left  []left
}

// stay opens one.
func (h *Host) stay(user string, what []Leftover) (*Stay, error) {
	l, err := h.Open(Kinds()[0], user)
	if err != nil {
		return nil, err
	}
	s := &Stay{login: l}
	s.left, err = h.leave(l, what)
	return s, err
}

// hurt names those who are not alive any more.
func (s *Stay) hurt() (names []string) {
	if s == nil {
		return nil
	}
	if !s.login.Session.Leader.Alive() {
		names = append(names, "the other login itself")
	}
	for _, l := range s.left {
		if !l.ref.Alive() {
			names = append(names, l.Name)
		}
	}
	return names
}

// Run opens a login, has it leave everything behind, ends it and looks. beside
// is the user's other login; nil: he has none. The error is the test's own.
func (h *Host) Run(kind Kind, end End, user string, what []Leftover, beside *Stay) (out Outcome, err error) {
	l, err := h.Open(kind, user)
	if err != nil {
		return out, err
	}
	lefts, err := h.leave(l, what)
	defer func() { err = errors.Join(err, h.clear(l, lefts)) }()
	if err != nil {
		return out, err
	}
	watch, err := h.watch(l.Group)
	if err != nil {
		return out, err
	}
	defer watch.close()
	if kind.own && h.ender == Daemon {
		if err := h.watched(l); err != nil {
			return out, err
		}
	}
	begin := time.Now()
	if h.ender == Terminate {
		err = h.root("loginctl terminate-session " + l.ID)
	} else {
		err = l.end(end)
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", end, err)
	}
	out.Took, out.Empty = watch.wait(begin, h.ender.patience())
	if out.Reason, err = h.over(l); err != nil {
		return out, err
	}
	out.Fates = map[string]Fate{}
	for _, one := range lefts {
		out.Fates[one.Name] = h.fate(one, beside == nil, begin.Add(h.ender.patience()))
	}
	out.Hurt = beside.hurt()
	return out, nil
}

// over returns when the Ender has no more to do for a login, with the reason
// that the daemon had.
func (h *Host) over(l *Login) (reason string, err error) {
	if h.ender != Daemon {
		return "", nil
	}
	done, err := h.recorded(l.ID)
	return done.Reason, err
}

// fate is what has become of a leftover. Who is to go is waited for, until the end
// has had its time: what is below the user's manager goes when systemd takes this
// down.
func (h *Host) fate(l left, last bool, until time.Time) Fate {
	want, patience := l.Beside, time.Duration(0)
	if last {
		want = l.Last
	}
	if want == Gone && h.ender != Nobody {
		patience = max(0, time.Until(until))
	}
	if l.ref.Gone(patience) {
		return Gone
	}
	return Lives
}

// clear ends whatever is left of a login, so that the next one finds nothing.
func (h *Host) clear(l *Login, lefts []left) error {
	for _, one := range lefts {
		_ = one.ref.Signal(unix.SIGKILL) // it may be gone
	}
	_ = os.WriteFile(h.m.Path("/sys/fs/cgroup"+l.Group)+"/cgroup.kill", []byte("1"), 0)
	err := machine.Until("logind has forgotten login "+l.ID, func() (bool, error) {
		if len(h.members(l.Group)) > 0 {
			return false, nil
		}
		_, err := os.Lstat(h.m.Path("/run/systemd/sessions/" + l.ID))
		if err == nil { // 252 never learns that a leader was killed
			return false, h.root("loginctl kill-session -s KILL " + l.ID + " 2>/dev/null || :; systemctl stop session-" + l.ID + ".scope 2>/dev/null || :")
		}
		return true, nil
	})
	if l.after != nil {
		err = errors.Join(err, l.after())
	}
	return err
}

// watch waits for a control group to be empty, by the exits of its processes.
type watch struct {
	h     *Host
	group string
	fds   map[int]int // pid → pidfd
}

func (h *Host) watch(group string) (*watch, error) {
	w := &watch{h: h, group: group, fds: map[int]int{}}
	w.look()
	if len(w.fds) == 0 {
		return nil, fmt.Errorf("nobody is in %s", group)
	}
	return w, nil
}

// look opens those who are in the group and were not before; it says how many
// of its processes live.
func (w *watch) look() {
	for _, pid := range w.h.members(w.group) {
		if _, ok := w.fds[pid]; ok {
			continue
		}
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			w.fds[pid] = fd
		}
	}
}

// wait returns how long after begin the last process was gone; false: it was
// not, in time.
func (w *watch) wait(begin time.Time, patience time.Duration) (time.Duration, bool) {
	for time.Since(begin) < patience {
		var poll []unix.PollFd
		for _, fd := range w.fds {
			poll = append(poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		// One that lives is waited for; when it is gone, the next.
		live := poll[:0]
		if _, err := unix.Poll(poll, 0); err == nil || errors.Is(err, unix.EINTR) {
			for _, p := range poll {
				if p.Revents == 0 {
					live = append(live, unix.PollFd{Fd: p.Fd, Events: unix.POLLIN})
				}
			}
		}
		if len(live) > 0 {
			_, _ = unix.Poll(live[:1], int(min(patience, time.Second).Milliseconds()))
			continue
		}
		took := time.Since(begin)
		known := len(w.fds)
		w.look()
		if len(w.fds) == known && len(w.h.members(w.group)) == 0 {
			return took, true
		}
		w.forget()
	}
	return 0, false
}

// forget closes those who are gone: their numbers may come again.
func (w *watch) forget() {
	for pid, fd := range w.fds {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 0); err == nil && n == 1 {
			_ = unix.Close(fd)
			delete(w.fds, pid)
		}
	}
}

func (w *watch) close() {
	for _, fd := range w.fds {
		_ = unix.Close(fd)
	}
}

// wrong compares with what was written down before.
func (c *Cell) wrong(what []Leftover) (list []string) {
	if c.Err != nil {
		return []string{c.Err.Error()}
	}
	if !c.Empty {
		list = append(list, "the login's control group did not get empty")
	}
	for _, l := range what {
		want := l.Beside
		if c.Last {
			want = l.Last
		}
		if got := c.Fates[l.Name]; got != want {
			list = append(list, fmt.Sprintf("%s: %s, must be: %s", l.Name, got, want))
		}
	}
	if want := kindOf(c.Kind).noticed[c.End]; want != "" && c.Reason != want {
		list = append(list, fmt.Sprintf("the reason on record is %q, must be %q", c.Reason, want))
	}
	if len(c.Hurt) > 0 {
		list = append(list, "hurt: "+strings.Join(c.Hurt, ", "))
	}
	return list
}
