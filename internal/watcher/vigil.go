package watcher

import (
	"context"
	"errors"
	"sync"
	"time"

	"xexit/internal/display"
)

// watch is one display being watched.
type watch interface {
	// Run returns when the display is gone, or display.ErrAlive when Probe
	// found that it is not.
	Run(ctx context.Context) (display.End, error)
	// Probe asks Run to find that out within the given time.
	Probe(within time.Duration)
	Close() error
}

// open starts to watch a display. A *display.RefusedError will be the same
// next time; any other error may not.
type open func(ctx context.Context, o display.Options) (watch, error)

func openDisplay(ctx context.Context, o display.Options) (watch, error) {
	w, err := display.Open(ctx, o)
	if err != nil {
		return nil, err // not w: a nil pointer in an interface is not nil
	}
	return w, nil
}

const (
	openPatience = 60 * time.Second // for a display that does not answer yet
	openFirst    = 100 * time.Millisecond
	openSlowest  = 2 * time.Second
)

// vigil opens a display, patiently, and watches it to its end.
type vigil struct {
	open     open
	options  display.Options
	patience time.Duration
	opened   func()      // each time that it is open
	failed   func(error) // each time that opening or watching fails and is tried again

	mu sync.Mutex
	w  watch // nil: not open now
}

// outcome is what a vigil ends with.
type outcome struct {
	end display.End
	err error // of the last attempt, display.ErrAlive, or ctx's
}

// start runs the vigil beside the caller.
func (v *vigil) start(ctx context.Context) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		end, err := v.run(ctx)
		done <- outcome{end, err}
	}()
	return done
}

func (v *vigil) run(ctx context.Context) (display.End, error) {
	for {
		w, err := v.openPatiently(ctx)
		if err != nil {
			return display.End{}, err
		}
		v.set(w)
		v.opened()
		end, err := w.Run(ctx)
		v.set(nil)
		if close := w.Close(); err == nil || errors.Is(err, display.ErrAlive) || ctx.Err() != nil {
			_ = close // it is over, whatever the socket says
			return end, err
		}
		v.failed(err)
	}
}

func (v *vigil) openPatiently(ctx context.Context) (watch, error) {
	ctx, cancel := context.WithTimeout(ctx, v.patience)
	defer cancel()
	for pause := openFirst; ; pause = min(2*pause, openSlowest) {
		w, err := v.open(ctx, v.options)
		var refused *display.RefusedError
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return w, err
		}
		v.failed(err)
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, err
		}
	}
}

func (v *vigil) set(w watch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.w = w
}

// probe asks whether the display lives; false if it has not been open yet, or
// has just ended.
func (v *vigil) probe(within time.Duration) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.w != nil {
		v.w.Probe(within)
	}
	return v.w != nil
}
