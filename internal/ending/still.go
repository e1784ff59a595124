package ending

import (
	"context"
	"errors"
	"fmt"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/logind"
)

// Who dies without a parent is systemd's to bury, and it does that before it
// answers anybody: next to a fork bomb it has no time for a hook that it is to
// run, until the bomb has burnt out. So the login stands still while its hooks
// run, if systemd does not answer. Else it does not: a hook may have something to
// ask of a program.

// answerPatience is how long systemd may take for an answer, and the pause
// between two questions.
const answerPatience = 500 * time.Millisecond

// errSilent is a problem of the record.
var errSilent = fmt.Errorf("systemd did not answer for %s, and the login stood still while exit scripts ran", answerPatience)

// holdStill freezes the login's control group as soon as systemd is late to
// answer, until over. over lets it go on, and the error of over says if it stood.
func (r *run) holdStill(ctx context.Context) (over func() error) {
	group := r.target.group
	if group == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		if !r.silent && !silence(ctx, r.host.Root) {
			done <- nil
			return
		}
		if err := freeze(ctx, group); err != nil {
			done <- err
			return
		}
		done <- errSilent
	}()
	return func() error {
		cancel()
		err := <-done
		if !errors.Is(err, errSilent) {
			return err
		}
		if thawed := group.Thaw(); thawed != nil || r.silent {
			return thawed // of a second time, nothing new is to be said
		}
		r.silent = true
		return err
	}
}

// freezePatience bounds the wait for a group to stand still: what sits in the
// kernel does not stop, and is frozen when it leaves it.
const freezePatience = time.Second

// freeze has a login's control group stand still until it is thawed.
func freeze(ctx context.Context, group *cgroup.Group) error {
	bounded, cancel := context.WithTimeout(ctx, freezePatience)
	defer cancel()
	if err := group.Freeze(bounded); err != nil && bounded.Err() == nil {
		return fmt.Errorf("freeze the login: %w", err)
	}
	return nil
}

// silence reports whether systemd was late to answer before ctx was over.
func silence(ctx context.Context, root string) bool {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-pause.C:
		}
		bounded, cancel := context.WithTimeout(ctx, answerPatience)
		err := logind.Ping(bounded, root)
		late := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil {
			return late
		}
		pause.Reset(answerPatience)
	}
}
