package reap

import (
	"context"
	"time"

	"xexit/internal/linux"
)

// wakeKey is the key of the descriptor that the end of the context makes
// readable; processes have the keys from 0.
const wakeKey = ^uint64(0)

// watch waits for the death of processes, by their pidfds, and for the end of
// a context.
type watch struct {
	epoll *linux.Epoll
	wake  *linux.EventFD
	stop  func() bool   // no more calls of wake.Set will begin
	woken chan struct{} // closed when the one that began is over
}

func newWatch(ctx context.Context) (*watch, error) {
	epoll, err := linux.NewEpoll()
	if err != nil {
		return nil, err
	}
	wake, err := linux.NewEventFD()
	if err != nil {
		epoll.Close()
		return nil, err
	}
	w := &watch{epoll: epoll, wake: wake, woken: make(chan struct{})}
	if err := epoll.Add(wake.FD(), linux.EpollIn, wakeKey); err != nil {
		wake.Close()
		epoll.Close()
		return nil, err
	}
	w.stop = context.AfterFunc(ctx, func() {
		defer close(w.woken)
		_ = wake.Set() // cannot fail on a descriptor of ours; ctx.Err is looked at all the same
	})
	return w, nil
}

// add begins to wait for the process behind pidfd, which is reported once.
func (w *watch) add(pidfd int, key int) error {
	return w.epoll.Add(pidfd, linux.EpollIn|linux.EpollOneShot, uint64(key))
}

// wait returns the keys of processes that died, at the latest after timeout
// (at once if it is 0 or less) or when the context ends, with none then.
func (w *watch) wait(timeout time.Duration, dead []int) ([]int, error) {
	ready, err := w.epoll.Wait(max(timeout, 0))
	if err != nil {
		return dead, err
	}
	for _, one := range ready {
		if one.Key != wakeKey {
			dead = append(dead, int(one.Key))
		}
	}
	return dead, nil
}

func (w *watch) close() {
	if !w.stop() {
		<-w.woken
	}
	w.wake.Close()
	w.epoll.Close()
}
