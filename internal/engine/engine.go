// Package engine is the order of an end: claim it, note that it begins, run
// the site's hooks, end the members, note what was done. What each step does
// belongs to its own package and comes in as a value; here is only what must
// happen after what, and that a step which fails never stops the next. It
// touches neither the machine nor the clock.
//
//	claim ──▶ begin ──▶ hooks ──▶ members ──▶ done ──▶ release
//	  │ refused: nothing else happens
//	  └ from here on every step runs, whatever the one before it said
package engine

import (
	"context"
	"errors"
	"fmt"
)

// Claimer makes one end of a session exclusive.
type Claimer interface {
	// Claim marks the session as ending. An error means that the end is
	// somebody else's, or already carried out, and that nothing may be done.
	Claim() (release func(), err error)
}

// Recorder keeps the record of an end: two entries, each at most once.
type Recorder interface {
	Begin() error
	Done(Result) error
}

// Hooks runs the site's exit scripts, one after the other, each at most as
// long as its deadline. The error tells of those that were refused or could
// not be listed; what each did is the implementation's to keep for the record.
type Hooks interface {
	Run(ctx context.Context) error
}

// Members ends what belongs to the session. What it returns holds also with
// an error, as far as it came.
type Members interface {
	End(ctx context.Context) (Left, error)
}

// Left is what is left of a session.
type Left struct {
	Survivors int
	// Verified: a clean scan found no member.
	Verified bool
}

// Engine carries out one end. It is used once.
type Engine struct {
	Claimer  Claimer
	Recorder Recorder
	Hooks    Hooks // nil: no hooks are run
	Members  Members
}

// Result is how an end went.
type Result struct {
	Left
	// Problems are the errors of steps that failed while the end went on.
	Problems []error
}

// Exit is the exit status of the commands that end a session.
type Exit int

// The exit statuses.
const (
	ExitDone     Exit = 0 // verified empty, or spared by policy
	ExitFailed   Exit = 1
	ExitUsage    Exit = 2 // usage or configuration
	ExitSurvived Exit = 3 // something could not be ended, or not verified
)

// Exit says how the end went as a whole. A failed hook or an unwritten record
// does not make a verified end a failure: both are reported as problems.
func (r Result) Exit() Exit {
	if r.Survivors > 0 || !r.Verified {
		return ExitSurvived
	}
	return ExitDone
}

// ErrClaimed is wrapped by the error of Run if the end was not ours to carry out.
var ErrClaimed = errors.New("the end is already under way or done")

// Run carries out the end. The error is nil, or wraps ErrClaimed and then
// nothing was done. ctx reaches hooks and members; cancelling it cuts them
// short, and the record is written all the same.
func (e *Engine) Run(ctx context.Context) (Result, error) {
	release, err := e.Claimer.Claim()
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrClaimed, err)
	}
	defer release()

	var r Result
	r.note("record the beginning", guard(e.Recorder.Begin))
	if e.Hooks != nil {
		r.note("run hooks", guard(func() error { return e.Hooks.Run(ctx) }))
	}
	r.note("end members", guard(func() (err error) {
		r.Left, err = e.Members.End(ctx)
		return err
	}))
	if err := guard(func() error { return e.Recorder.Done(r) }); err != nil {
		r.note("record the end", err)
	}
	return r, nil
}

func (r *Result) note(step string, err error) {
	if err != nil {
		r.Problems = append(r.Problems, fmt.Errorf("%s: %w", step, err))
	}
}

// guard turns a panic of a step into an error: a bug in one step must not keep
// the members alive or the record from being written.
func guard(step func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return step()
}
