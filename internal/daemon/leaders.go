package daemon

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"xexit/internal/linux"
	"xexit/internal/session"
)

// leaders tells when a login's leader exits. logind alone does not: version
// 252 keeps a login active whose leader was killed. All are in one epoll
// instance, at one descriptor each.
type leaders struct {
	exited chan exit

	epoll *linux.Epoll
	quit  *linux.EventFD
	done  chan struct{}
	stop  chan struct{}

	mu   sync.Mutex
	next uint64
	keys map[uint64]string
	refs map[string]leader
}

// exit is a leader's.
type exit struct {
	login string
	heard time.Duration // CLOCK_BOOTTIME when the kernel's word of it came
}

type leader struct {
	key uint64
	ref *linux.PidFD
}

func newLeaders() (*leaders, error) {
	l := &leaders{
		exited: make(chan exit), done: make(chan struct{}), stop: make(chan struct{}),
		keys: make(map[uint64]string), refs: make(map[string]leader),
	}
	var err error
	if l.epoll, err = linux.NewEpoll(); err != nil {
		return nil, err
	}
	if l.quit, err = linux.NewEventFD(); err != nil {
		return nil, errors.Join(err, l.epoll.Close())
	}
	if err := l.epoll.Add(l.quit.FD(), linux.EpollIn, 0); err != nil {
		return nil, errors.Join(err, l.quit.Close(), l.epoll.Close())
	}
	go l.run()
	return l, nil
}

// watch starts to watch a login's leader. gone: it does not live any more.
func (l *leaders) watch(login string, id session.ProcID) (gone bool, err error) {
	ref, err := linux.OpenPidFD(id.PID)
	if errors.Is(err, syscall.ESRCH) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("leader %d: %w", id.PID, err)
	}
	// Read behind the reference: a number that was reused has another start.
	start, err := linux.Birth(id.PID)
	if errors.Is(err, linux.ErrGone) || err == nil && start != id.Start {
		return true, ref.Close()
	}
	if err != nil {
		return false, errors.Join(err, ref.Close())
	}
	l.drop(login)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	if err := l.epoll.Add(ref.FD(), linux.EpollIn|linux.EpollOneShot, l.next); err != nil {
		return false, errors.Join(err, ref.Close())
	}
	l.keys[l.next], l.refs[login] = login, leader{l.next, ref}
	return false, nil
}

// drop stops watching; a fact that is on its way may still come.
func (l *leaders) drop(login string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.refs[login]; ok {
		_ = l.epoll.Remove(r.ref.FD())
		_ = r.ref.Close()
		delete(l.refs, login)
		delete(l.keys, r.key)
	}
}

func (l *leaders) close() {
	close(l.stop)
	_ = l.quit.Set()
	<-l.done
	for login := range l.refs {
		l.drop(login)
	}
	_ = l.quit.Close()
	_ = l.epoll.Close()
}

func (l *leaders) run() {
	defer close(l.done)
	for {
		ready, err := l.epoll.Wait(time.Hour)
		if err != nil {
			return // the instance is broken: does not happen while it is open
		}
		clocks, _ := linux.Now() // 0: then it is not known
		for _, r := range ready {
			l.mu.Lock()
			login, ok := l.keys[r.Key]
			l.mu.Unlock()
			if !ok {
				continue
			}
			select {
			case l.exited <- exit{login, clocks.Boot}:
			case <-l.stop:
			}
		}
		select {
		case <-l.stop:
			return
		default:
		}
	}
}
