package ending

import (
	"context"
	"errors"
	"fmt"
	"os"

	"xexit/internal/history"
	"xexit/internal/hook"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// Run implements engine.Hooks.
func (r hooksOf) Run(ctx context.Context) error {
	specs, err := r.listHooks(r.config.Hooks.Dir)
	if r.target.login != "" {
		return errors.Join(err, r.userHooks(ctx, specs))
	}
	options := r.hookOptions()
	options.Shield, options.Protect = r.config.Hooks.Shield, r.protected()
	env := hook.Environ(r.host.Environ, r.vars())
	for _, spec := range specs {
		r.ran(hook.Run(ctx, spec, env, options))
	}
	return err
}

// listHooks lists the hooks in dir and records those that are refused.
func (r *run) listHooks(dir string) ([]hook.Spec, error) {
	specs, refused, err := hook.List(dir)
	for _, f := range refused {
		if f.Ignored {
			continue // no hook by its name: `xexit check` says so
		}
		r.record.Hooks = append(r.record.Hooks, history.Hook{Name: f.Name, Status: -1, Refused: f.Reason})
		r.tell(Step{Kind: StepHook, What: fmt.Sprintf("hook %s refused: %s", f.Name, f.Reason)})
		r.log.Warn("hook refused", "hook", f.Name, "why", f.Reason)
	}
	return specs, err
}

// vars are what a hook is told.
func (r *run) vars() hook.Vars {
	return hook.Vars{
		Session: r.target.entry.ID,
		Reason:  r.record.Reason,
		User:    r.target.user,
		Display: r.target.entry.Display,
		Client:  r.record.Client,
		Phase:   session.PhaseEnding,
	}
}

func (r *run) hookOptions() hook.Options {
	return hook.Options{Deadline: r.config.Hooks.Timeout, OutputCap: int(r.config.Hooks.Output)}
}

// ran records what a hook did.
func (r *run) ran(result hook.Result) {
	r.record.Hooks = append(r.record.Hooks, recordHook(result))
	r.tell(Step{Kind: StepHook, What: fmt.Sprintf("hook %s: status %d", result.Name, result.Status)})
	r.log.Info("hook", "hook", result.Name, "status", result.Status, "took", result.Took)
}

// protected are the processes that a hook must not signal: this end, whoever
// waits for it, and the watcher.
func (r *run) protected() []int {
	pids := []int{os.Getpid()}
	for _, pid := range []int{r.req.Waiter, r.target.entry.Watcher.PID, r.target.entry.Subreaper.PID} {
		if pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func recordHook(h hook.Result) history.Hook {
	signal := ""
	if h.Signal != 0 {
		signal = linux.SignalName(h.Signal)
	}
	return history.Hook{
		Name: h.Name, Status: h.Status, Signal: signal, TimedOut: h.TimedOut,
		Refused: h.Refused, Failed: h.Failed, Left: h.Left, Unshielded: h.Unshielded, Denied: h.Denied, Took: history.Millis(h.Took),
		Output: history.Bytes(h.Output), Truncated: h.Truncated,
	}
}
