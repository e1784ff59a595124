package demo

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"xexit/internal/linux"
)

// children collects every process that ends below this one: as a subreaper it
// is the parent of strangers too, so nobody here waits for a child by itself.
type children struct {
	signals chan os.Signal
	done    chan struct{}

	mu     sync.Mutex
	status map[int]int           // of the ended, in the shell's spelling
	ended  map[int]chan struct{} // of those that somebody waits for
}

func collectChildren() *children {
	c := &children{
		signals: make(chan os.Signal, 1), done: make(chan struct{}),
		status: map[int]int{}, ended: map[int]chan struct{}{},
	}
	signal.Notify(c.signals, syscall.SIGCHLD)
	go c.collect()
	return c
}

func (c *children) collect() {
	for {
		select {
		case <-c.signals:
		case <-c.done:
			return
		}
		for {
			e, ok, err := linux.Reap()
			if err != nil || !ok {
				break
			}
			c.mu.Lock()
			c.status[e.PID] = e.Code()
			if ch := c.ended[e.PID]; ch != nil {
				close(ch)
				delete(c.ended, e.PID)
			}
			c.mu.Unlock()
		}
	}
}

func (c *children) close() {
	signal.Stop(c.signals)
	close(c.done)
}

// start starts a child in a session of its own: it has no terminal, and what
// is typed there (^C) is for the demo alone.
func (c *children) start(argv, environ []string, files []*os.File) (pid int, ended <-chan struct{}, err error) {
	c.mu.Lock() // so that its end is not collected before it is waited for
	defer c.mu.Unlock()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: "/", Env: environ, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, err
	}
	pid = p.Pid
	ch := make(chan struct{})
	c.ended[pid] = ch
	return pid, ch, p.Release()
}

func (c *children) statusOf(pid int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status[pid]
}
