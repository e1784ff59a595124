package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// old is what version 1 needs beside the hierarchy. There the groups that name
// logins can only be listed; another hierarchy, the freezer's, stops processes
// (freezer-subsystem.rst), and nobody is in a group of that unless he was put
// there. So a Group has one of its own in it for as long as it is frozen:
//
//	systemd  /user.slice/…/session-4.scope       members, as ever
//	freezer  /                                   where they are otherwise
//	         /xexit/user.slice%2F…session-4.scope while frozen: FROZEN first, so
//	                                             that whoever is put there stops
//
// The root of a hierarchy is a directory of mode 0555: /xexit takes
// CAP_DAC_OVERRIDE, which the daemon has not, so its unit makes it before.
//
// Who was put elsewhere in the freezer's hierarchy by somebody else (a batch
// job, a container) is left there: it is not stopped, and nobody loses track
// of it.
type old struct {
	proc    string // root of proc(5)
	freezer string // where the freezer is mounted; "": nowhere
}

// own is the directory of the group that stands for another.
func (o *old) own(group string) string {
	return path.Join(o.freezer, top, strings.NewReplacer("%", "%25", "/", "%2F").Replace(strings.TrimPrefix(group, "/")))
}

// top is the group in the freezer's hierarchy that has all of ours. It stays.
const top = "xexit"

// freeze puts everybody of g into the freezer, until a pass finds nobody new,
// and waits until all have stopped or ctx is over. They are put there whether
// or not it is over, within the time that it had. On any error but that nobody
// is left there.
func (o *old) freeze(ctx context.Context, g *Group) error {
	if o.freezer == "" {
		return fmt.Errorf("control group %s: no freezer of cgroups v1 is mounted: %w", g.path, errors.ErrUnsupported)
	}
	for _, dir := range []string{path.Join(o.freezer, top), o.own(g.path)} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("control group %s: %w", g.path, err)
		}
	}
	until := time.Now().Add(freezePatience)
	if end, ok := ctx.Deadline(); ok && end.Before(until) {
		until = end
	}
	err := o.set(g.path, "FROZEN")
	if err == nil {
		err = o.gather(g, until)
	}
	if err == nil {
		err = o.awaitFrozen(ctx, g.path)
	}
	if err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
		err = errors.Join(err, o.thaw(g.path))
	}
	return err
}

// gather puts everybody into the freezer's group. A child is born into its
// parent's groups, all in one step, so that who is born outside of the freezer
// is in the next pass.
func (o *old) gather(g *Group, until time.Time) error {
	for moved := 1; moved > 0; {
		pids, err := g.PIDs()
		if err != nil {
			return err
		}
		moved = 0
		for _, pid := range pids {
			did, err := o.enter(o.own(g.path), pid)
			if err != nil {
				return fmt.Errorf("control group %s: freeze %d: %w", g.path, pid, err)
			}
			if did {
				moved++
			}
		}
		if !time.Now().Before(until) {
			return nil
		}
	}
	return nil
}

// enter puts a process into the freezer's group if it is in none; it is a
// member of the group that is frozen, or was when that was listed. The kernel
// takes numbers only: a process that outlives the step had its own all the
// time, and for any other the step is undone.
func (o *old) enter(own string, pid int) (did bool, err error) {
	ref, err := linux.OpenPidFD(pid)
	if err != nil {
		return false, ignoreGone(err)
	}
	defer ref.Close()
	if home, err := o.home(pid); home != "/" || err != nil {
		return false, ignoreGone(err)
	}
	if err := join(own, pid); err != nil {
		return false, ignoreGone(err)
	}
	if err := ref.Signal(0); errors.Is(err, syscall.ESRCH) {
		return true, ignoreGone(join(o.freezer, pid))
	}
	return true, nil
}

// home is the group that a process has in the freezer's hierarchy; "": unknown.
func (o *old) home(pid int) (string, error) {
	text, err := os.ReadFile(path.Join(o.proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, home, _ := strings.Cut(rest, ":")
		for controller := range strings.SplitSeq(controllers, ",") {
			if controller == "freezer" {
				return home, nil
			}
		}
	}
	return "", nil
}

// thaw lets everybody go on, puts them back and removes the freezer's group.
// Without one nobody was frozen. One that will not go is left: empty or not it
// stops nobody, and is used again.
func (o *old) thaw(group string) error {
	if o.freezer == "" {
		return nil
	}
	if err := o.set(group, "THAWED"); err != nil {
		return err
	}
	own := o.own(group)
	again := time.NewTicker(frozenCheck)
	defer again.Stop()
	for until := time.Now().Add(putBackPatience); time.Now().Before(until); <-again.C {
		text, err := os.ReadFile(path.Join(own, "cgroup.procs"))
		if err != nil {
			return ignoreGone(err)
		}
		for line := range bytes.Lines(text) {
			// By number once more: it was there a moment ago, and in the place that
			// it is put to everybody is where nobody has put him anywhere.
			if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil && pid > 0 {
				if err := ignoreGone(o.leave(own, pid)); err != nil {
					return fmt.Errorf("control group %s: put %d back: %w", group, pid, err)
				}
			}
		}
		if err := os.Remove(own); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return nil
}

// leave puts a process back that is in the freezer's group.
func (o *old) leave(own string, pid int) error {
	ref, err := linux.OpenPidFD(pid)
	if err != nil {
		return err
	}
	defer ref.Close()
	if home, err := o.home(pid); err != nil || home != path.Join("/", top, path.Base(own)) {
		return err
	}
	return join(o.freezer, pid)
}

// putBackPatience is for those who are dying, and cannot be put anywhere, and
// for those who are born meanwhile.
const putBackPatience = time.Second

// set gives the freezer's group a state. One that is not there is thawed.
func (o *old) set(group, state string) error {
	err := write(path.Join(o.own(group), "freezer.state"), state)
	if err != nil && (state != "THAWED" || !errors.Is(gone(err), ErrGone)) {
		return fmt.Errorf("control group %s: %w", group, err)
	}
	return nil
}

// awaitFrozen waits until all have stopped: the kernel finds that out when it
// is asked, and tells of nothing by itself.
func (o *old) awaitFrozen(ctx context.Context, group string) error {
	again := time.NewTicker(frozenCheck)
	defer again.Stop()
	for {
		state, err := os.ReadFile(path.Join(o.own(group), "freezer.state"))
		if err != nil {
			return fmt.Errorf("control group %s: %w", group, err)
		}
		if string(bytes.TrimSpace(state)) == "FROZEN" {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("control group %s: wait until it is frozen: %w", group, ctx.Err())
		}
	}
}

const frozenCheck = 2 * time.Millisecond

// awaitEmpty waits until nobody lives in g, one death at a time.
func (o *old) awaitEmpty(ctx context.Context, g *Group) error {
	wake, err := linux.NewEventFD()
	if err != nil {
		return err
	}
	defer wake.Close()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(woken); _ = wake.Set() })
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	for {
		pids, err := g.PIDs()
		if err != nil || len(pids) == 0 {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("control group %s: wait until it is empty: %w", g.path, err)
		}
		ref, err := linux.OpenPidFD(pids[0])
		if errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return err
		}
		// Who leaves the group alive does not tell.
		err = linux.Poll([]linux.PollFD{{FD: ref.FD()}, {FD: wake.FD()}}, removalCheck)
		if err = errors.Join(err, ref.Close()); err != nil {
			return err
		}
	}
}

// join puts a process into the group of a directory, by its number.
func join(dir string, pid int) error {
	return write(path.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
}

func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0) // os.WriteFile would ask to create it
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// ignoreGone takes the error for none where it says that a process or a group
// is no more.
func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) || errors.Is(gone(err), ErrGone) {
		return nil
	}
	return err
}
