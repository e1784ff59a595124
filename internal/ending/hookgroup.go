package ending

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/hook"
	"xexit/internal/linux"
	"xexit/internal/proc"
)

// hookGroups is where hooks have their control groups, beside those of the
// logins.
const hookGroups = "/xexit/hook-"

// inGroups runs hooks in control groups of their own, as root if as is nil. Where
// the host has no control groups they are children of ours.
func (r *run) inGroups(ctx context.Context, specs []hook.Spec, env []string, as *syscall.Credential, o hook.Options) error {
	tree, err := cgroup.Mounted(r.host.Proc)
	if err != nil && !errors.Is(err, cgroup.ErrNoHierarchy) {
		return fmt.Errorf("hooks are not run: %w", err)
	}
	for _, spec := range specs {
		if err != nil {
			o.As = as
			r.ran(hook.Run(ctx, spec, env, o))
			continue
		}
		// The same name at a second attempt, as for units.
		by := groupRunner{tree, fmt.Sprintf("%s%s-%d", hookGroups, r.record.ID, len(r.record.Hooks)), as, r.target.fs}
		r.ran(hook.RunBy(ctx, spec, env, o, by))
	}
	return nil
}

// groupRunner is a hook.Runner by a control group: what is born in it stays in
// it, whatever it does, unless it is root's.
type groupRunner struct {
	tree cgroup.Tree
	name string
	as   *syscall.Credential // nil: root
	fs   *proc.FS
}

// killPatience bounds the wait for what got KILL and does not die.
const killPatience = 5 * time.Second

// Run implements hook.Runner. Unlike with a unit there is nobody but this
// process to end the hook: if we are killed it runs on until another attempt at
// the same end finds its group.
func (g groupRunner) Run(ctx context.Context, c hook.Command) (exit hook.Exit, err error) {
	group, err := g.make(ctx)
	if err != nil {
		return exit, err
	}
	defer func() {
		err = errors.Join(err, group.Close(), g.tree.Remove(g.name))
	}()
	started, err := g.start(group, c)
	if err != nil {
		return exit, err
	}
	defer started.leader.Close() //nolint:errcheck // a reference only
	timer := time.NewTimer(c.Deadline)
	defer timer.Stop()
	select {
	case <-started.exited:
		exit.Left = g.left(group)
	case <-timer.C:
		exit.TimedOut = true
	case <-ctx.Done():
		err = fmt.Errorf("cut short: %w", context.Cause(ctx))
	}
	if err = errors.Join(err, end(group, c.Grace), started.await()); err != nil {
		return exit, err
	}
	exit.Status, exit.Signal = started.status.ExitStatus(), 0
	if started.status.Signaled() {
		exit.Signal = started.status.Signal()
	}
	return exit, nil
}

// make makes the group. One that an earlier attempt has left behind is emptied
// first, so that no hook runs beside itself.
func (g groupRunner) make(ctx context.Context) (*cgroup.Group, error) {
	old, err := g.tree.Open(g.name)
	switch {
	case err == nil:
		bounded, cancel := context.WithTimeout(ctx, killPatience)
		defer cancel()
		if err := errors.Join(old.Kill(bounded), old.Close(), g.tree.Remove(g.name)); err != nil {
			return nil, fmt.Errorf("an earlier attempt's hook is not over: %w", err)
		}
	case !errors.Is(err, cgroup.ErrGone):
		return nil, err
	}
	if err := g.tree.MakeNew(g.name); err != nil {
		return nil, err
	}
	return g.tree.Open(g.name)
}

// startedHook is a child of ours. status is set when exited is closed.
type startedHook struct {
	leader *linux.PidFD
	exited chan struct{}
	status syscall.WaitStatus
}

func (g groupRunner) start(group *cgroup.Group, c hook.Command) (*startedHook, error) {
	dir, err := group.OpenDir()
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // a directory
	input := c.Input
	if input == nil {
		if input, err = os.Open(os.DevNull); err != nil {
			return nil, err
		}
		defer input.Close() //nolint:errcheck // read only
	}
	pidfd := -1
	pid, _, err := syscall.StartProcess(c.Path, c.Argv, &syscall.ProcAttr{
		Dir: "/", Env: c.Env, Files: []uintptr{input.Fd(), c.Output.Fd(), c.Output.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd, Credential: g.as, UseCgroupFD: true, CgroupFD: int(dir.Fd())},
	})
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", c.Path, err)
	}
	s := &startedHook{leader: linux.AdoptPidFD(pidfd), exited: make(chan struct{})}
	go func() {
		defer close(s.exited)
		for {
			if _, err := syscall.Wait4(pid, &s.status, 0, nil); err != syscall.EINTR {
				return
			}
		}
	}()
	return s, nil
}

// await waits for the hook's death: of root's, it may have left the group.
func (s *startedHook) await() error {
	_ = s.leader.Signal(syscall.SIGKILL) // it is dead, most likely
	late := time.NewTimer(killPatience)
	defer late.Stop()
	select {
	case <-s.exited:
		return nil
	case <-late.C:
		return fmt.Errorf("it could not be ended within %s", killPatience)
	}
}

// left names those whom a hook that has exited has left in its group.
func (g groupRunner) left(group *cgroup.Group) (names []string) {
	pids, _ := group.PIDs() // only to tell of them
	for _, pid := range pids {
		if s, err := g.fs.Stat(pid); err == nil && !s.Dead() {
			names = append(names, fmt.Sprintf("%d (%s)", pid, s.Comm))
		}
	}
	return names
}

// end ends everybody in a group: TERM, HUP and CONT, and KILL after the grace.
func end(group *cgroup.Group, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace+killPatience)
	defer cancel()
	polite, over := context.WithTimeout(ctx, grace)
	defer over()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGCONT} {
		if err := group.Signal(sig); err != nil {
			break // KILL will say more
		}
	}
	if err := group.AwaitEmpty(polite); err == nil {
		return nil
	}
	if err := group.Kill(ctx); err != nil {
		return fmt.Errorf("what it started could not be ended: %w", err)
	}
	return nil
}
