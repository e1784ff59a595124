package displayd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"xexit/internal/display"
	"xexit/internal/display/wayland"
	"xexit/internal/proc"
	"xexit/internal/session"
)

// Bounds of the search.
const (
	maxLooked    = 256                    // processes whose environment is read
	blockedAfter = 300 * time.Millisecond // one that cannot be read for so long is passed over
	maxBlocked   = 4
)

// errNowhere reports a login none of whose processes has a display.
var errNowhere = errors.New("none of the login's processes has a display in its environment")

// variables of a session that tell its display, in this order.
const (
	varDisplay = iota
	varWayland
	varAuthority
	varRuntimeDir
	varSSH
)

func variables() []string {
	return []string{"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "SSH_CONNECTION"}
}

// environment has their values, "" for none.
type environment [5]string

// find tells the display of a login, from the environment of its processes,
// those first that have been there for longest: what was started later may be
// on a display of its own. It asks no display.
func (t *task) find(ctx context.Context) (place, error) {
	var first place
	err := t.environments(ctx, func(e environment) bool {
		first = t.judge(e)
		return first.Name == ""
	})
	switch {
	case first.Name != "":
		return first, nil
	case t.wayland:
		return onlySocket(runtimeDir(""))
	case t.display != "":
		return place{Name: t.display}, nil // with ~/.Xauthority
	case err == nil:
		err = errNowhere
	}
	return place{}, &display.RefusedError{Kind: display.NoDisplay, Err: err, Remedy: "none is needed if this login has no display"}
}

// judge tells what one process says of the login's display.
func (t *task) judge(e environment) place {
	x := place{Name: e[varDisplay], Authority: e[varAuthority], SSH: e[varSSH]}
	switch {
	case t.wayland:
		path, err := wayland.Path(e[varWayland], runtimeDir(e[varRuntimeDir]))
		if err != nil || !isSocket(path) {
			return place{}
		}
		return place{Name: path, Wayland: true}
	case t.display != "" && session.CanonicalDisplay(x.Name) != session.CanonicalDisplay(t.display):
		return place{}
	}
	return x
}

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

func runtimeDir(said string) string {
	if said != "" {
		return said
	}
	return fmt.Sprintf("/run/user/%d", os.Getuid())
}

// onlySocket: a compositor that systemd has started has told nobody of the
// login's own processes. If there is but one, it is that.
func onlySocket(dir string) (place, error) {
	found, err := filepath.Glob(filepath.Join(dir, "wayland-*"))
	found = slices.DeleteFunc(found, func(path string) bool { return strings.HasSuffix(path, ".lock") || !isSocket(path) })
	if err == nil && len(found) == 1 {
		return place{Name: found[0], Wayland: true}, nil
	}
	return place{}, &display.RefusedError{
		Kind: display.NoDisplay, Err: fmt.Errorf("%w, and there are %d compositors in %s", errNowhere, len(found), dir),
		Remedy: "none is needed if this login has no display",
	}
}

// environments visits those of the login's processes, until visit says that it
// is enough. A process can make whoever reads its environment wait for ever: it
// is passed over, and what waits ends with this process.
func (t *task) environments(ctx context.Context, visit func(environment) bool) error {
	pids, err := t.processes()
	if err != nil {
		return err
	}
	r := newReader()
	for blocked := 0; len(pids) > 0; pids = pids[1:] {
		r.ask <- pids[0]
		select {
		case e := <-r.answer:
			if !visit(e) {
				return nil
			}
		case <-time.After(blockedAfter):
			if blocked++; blocked == maxBlocked {
				return fmt.Errorf("%w that could be read; %d could not", errNowhere, blocked)
			}
			r = newReader()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// reader reads environments in a goroutine that can be given up.
type reader struct {
	ask    chan int
	answer chan environment
}

func newReader() reader {
	r := reader{make(chan int, 1), make(chan environment, 1)}
	go func() {
		procs, err := proc.New("/proc")
		for pid := range r.ask {
			var e environment
			if err == nil {
				// Of one that cannot be read nothing is known.
				_ = procs.Environ(pid, variables(), func(name int, value []byte) { e[name] = string(value) })
			}
			r.answer <- e
		}
	}()
	return r
}

// processes are this user's in the login, the oldest first: what is in its
// control group, and what the leader has started.
func (t *task) processes() ([]int, error) {
	procs, err := proc.New("/proc")
	if err != nil {
		return nil, err
	}
	defer procs.Close()
	self := uint32(os.Getuid())
	var all []proc.Stat
	if err := procs.Pids(0, func(pid int) error {
		uid, err := procs.UID(pid)
		if err != nil || uid != self && pid != t.leader.PID {
			return nil // gone, or another's
		}
		if s, err := procs.Stat(pid); err == nil && pid != os.Getpid() {
			all = append(all, s)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b proc.Stat) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
	})
	in := map[int]bool{t.leader.PID: t.leader.PID > 0}
	var pids []int
	for _, s := range all {
		if s.PID == t.leader.PID && s.Start != t.leader.Start {
			delete(in, s.PID) // another process has the number now
			continue
		}
		if !in[s.PID] && !in[s.PPID] && !t.holds(procs, s.PID) {
			continue
		}
		in[s.PID] = true
		if len(pids) < maxLooked {
			pids = append(pids, s.PID)
		}
	}
	return pids, nil
}

// holds reports whether a process is in the login's control group.
func (t *task) holds(procs *proc.FS, pid int) bool {
	group, err := procs.Cgroup(pid)
	return err == nil && t.cgroup != "" && (group == t.cgroup || strings.HasPrefix(group, t.cgroup+"/"))
}
