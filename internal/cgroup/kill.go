package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// Freeze stops all processes in the group and below it (kernel 5.2), and waits
// until the kernel says that they are stopped or ctx is over. SIGKILL acts on
// frozen ones where KillsFrozen says so; other signals wait for Thaw. The caller
// is not in the group. Version 1: whom somebody else put into a group of the
// freezer's is not stopped; errors.ErrUnsupported: no freezer is mounted.
func (g *Group) Freeze(ctx context.Context) error {
	if g.old != nil {
		return g.old.freeze(ctx, g)
	}
	if err := g.write("cgroup.freeze", "1"); err != nil {
		return err
	}
	return g.await(ctx, "frozen", true)
}

// KillsFrozen reports whether SIGKILL acts on frozen processes. In version 1 it
// waits for Thaw as everything does, and acts then before they do anything.
func (g *Group) KillsFrozen() bool { return g.old == nil }

// Thaw lets them go on. In a group that is gone there is nobody to thaw.
func (g *Group) Thaw() error {
	if g.old != nil {
		return g.old.thaw(g.path)
	}
	err := g.write("cgroup.freeze", "0")
	if errors.Is(gone(err), ErrGone) {
		return nil
	}
	return err
}

// AwaitEmpty waits until nobody lives in the group or below it, or ctx is over.
// Zombies do not count.
func (g *Group) AwaitEmpty(ctx context.Context) error {
	if g.old != nil {
		return g.old.awaitEmpty(ctx, g)
	}
	return g.await(ctx, "populated", false)
}

// Kill kills all processes in the group and below it, those that are being
// born included, by cgroup.kill (kernel 5.14), and before that, or in version
// 1, by freezing the group, killing each and thawing. It returns when nobody is
// left or ctx is over. The caller is not in the group.
func (g *Group) Kill(ctx context.Context) error {
	if g.old != nil {
		return g.killOld(ctx)
	}
	err := g.write("cgroup.kill", "1")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, there := g.dir.Stat("cgroup.procs"); there != nil {
			return nil // the group is gone, and so is everybody in it
		}
		if err = g.KillFrozen(ctx); err != nil {
			return err
		}
	case errors.Is(err, syscall.ENODEV):
		return nil
	case err != nil:
		return err
	}
	return g.await(ctx, "populated", false)
}

// killOld is Kill in version 1. Who is in a group of the freezer's that is not
// ours runs on while the others are killed, and may have a child meanwhile.
func (g *Group) killOld(ctx context.Context) error {
	for {
		if err := g.KillFrozen(ctx); err != nil {
			return err
		}
		bounded, cancel := context.WithTimeout(ctx, removalCheck)
		err := g.AwaitEmpty(bounded)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// KillFrozen is Kill for kernels that have no cgroup.kill: who is frozen cannot
// fork, so that one list has all of them. The group is thawed in any case: a
// process that could not be killed must not hang as well.
func (g *Group) KillFrozen(ctx context.Context) (err error) {
	bounded, cancel := context.WithTimeout(ctx, freezePatience)
	defer cancel()
	err = g.Freeze(bounded)
	defer func() {
		err = errors.Join(err, g.Thaw())
	}()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err // what could not be stopped in time is killed all the same
	}
	return g.Signal(syscall.SIGKILL) // of the error before, nothing is left to say
}

// Signal sends a signal to each process that is in the group and below it now.
// Who is born meanwhile does not get it.
func (g *Group) Signal(sig syscall.Signal) error {
	pids, err := g.PIDs()
	var refs []*linux.PidFD
	defer func() {
		for _, ref := range refs {
			_ = ref.Close() // a reference only
		}
	}()
	var opened []int
	for _, pid := range pids {
		if ref, err := linux.OpenPidFD(pid); err == nil {
			refs, opened = append(refs, ref), append(opened, pid)
		}
	}
	// Listed again behind the reference: what has the number now is in the
	// group, or was and is dead.
	still, again := g.PIDs()
	for i, ref := range refs {
		if !slices.Contains(still, opened[i]) {
			continue
		}
		if sent := ref.Signal(sig); sent != nil && !errors.Is(sent, syscall.ESRCH) {
			err = errors.Join(err, fmt.Errorf("signal %d: %w", opened[i], sent))
		}
	}
	return errors.Join(err, again)
}

// await waits until a value of cgroup.events is as wanted: the kernel tells of
// every change by POLLPRI (cgroups(7)). A group that is gone is not populated,
// and frozen as far as anybody can tell.
func (g *Group) await(ctx context.Context, key string, want bool) error {
	f, err := g.dir.Open("cgroup.events")
	if err != nil {
		if errors.Is(gone(err), ErrGone) {
			return nil
		}
		return fmt.Errorf("control group %s: %w", g.path, err)
	}
	defer f.Close()
	changes, err := linux.NewEpoll()
	if err != nil {
		return err
	}
	defer changes.Close()
	wake, err := linux.NewEventFD()
	if err != nil {
		return err
	}
	defer wake.Close()
	if err := errors.Join(changes.Add(int(f.Fd()), linux.EpollPri, 0), changes.Add(wake.FD(), linux.EpollIn, 1)); err != nil {
		return err
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(woken); _ = wake.Set() })
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	buffer := make([]byte, 4096)
	for {
		n, err := f.ReadAt(buffer, 0)
		if n == 0 {
			if errors.Is(gone(err), ErrGone) {
				return nil
			}
			return fmt.Errorf("control group %s: %w", g.path, err)
		}
		if now, ok := event(buffer[:n], key); ok && now == want {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("control group %s: wait for %s=%t: %w", g.path, key, want, err)
		}
		// The kernel does not tell when the group itself is removed.
		if _, err := changes.Wait(removalCheck); err != nil {
			return err
		}
	}
}

// freezePatience is for processes that sit in the kernel and do not stop.
const freezePatience = time.Second

// removalCheck bounds how late a removed group is noticed.
const removalCheck = 100 * time.Millisecond
