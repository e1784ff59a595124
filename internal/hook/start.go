package hook

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"xexit/internal/linux"
)

// child is a started hook, or its stage.
type child struct {
	pid     int
	leader  *linux.PidFD
	group   *linux.Group
	output  int // the read end of its stdout and stderr; -1 once closed
	control int // the stage's messages; -1 if there is no stage, or none any more

	numbered bool
}

// start starts the hook. On an error nothing is left running.
func start(c command, env []string, o Options) (*child, error) {
	h := &child{numbered: o.numbered, output: -1, control: -1}
	if err := pidfdsWork(); err != nil { // then it could not be ended, so it is not started
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	var write int
	h.output, write, err = linux.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(write) }()
	files := []uintptr{null.Fd(), uintptr(write), uintptr(write)}
	if o.Shield {
		var theirs int
		h.control, theirs, err = linux.MessagePair()
		if err != nil {
			h.close()
			return nil, err
		}
		defer func() { _ = syscall.Close(theirs) }()
		files = append(files, uintptr(theirs)) // becomes stageSocket
		// The running file itself, also if it was replaced or removed by now.
		c = command{"/proc/self/exe", stageArgs(c)}
	}
	err = h.fork(c, env, files, o.As)
	if errors.Is(err, syscall.ENOEXEC) {
		if shell := c.byShell(); shell != nil {
			err = h.fork(*shell, env, files, o.As)
		}
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *child) fork(c command, env []string, files []uintptr, as *syscall.Credential) error {
	pidfd := -1
	pid, _, err := syscall.StartProcess(c.path, c.argv, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd, Credential: as},
	})
	if err != nil {
		return fmt.Errorf("execute %s: %w", c.path, err)
	}
	h.pid = pid
	h.leader = linux.AdoptPidFD(pidfd)
	if h.numbered {
		h.group = linux.NewNumberedGroup(h.leader, pid)
		return nil
	}
	h.group = linux.NewGroup(h.leader, pid)
	return nil
}

// pidfdsWork is an error where the kernel or the container has no pidfds (5.3).
func pidfdsWork() error {
	self, err := linux.OpenPidFD(os.Getpid())
	if err != nil {
		return err
	}
	return self.Close()
}

// reap waits for the leader, which is dead.
func (h *child) reap() (syscall.WaitStatus, error) {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(h.pid, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		h.group.Reaped()
		return status, os.NewSyscallError("wait4", err)
	}
}

func (h *child) closeOutput() {
	if h.output >= 0 {
		_ = syscall.Close(h.output)
		h.output = -1
	}
}

func (h *child) closeControl() {
	if h.control >= 0 {
		_ = syscall.Close(h.control)
		h.control = -1
	}
}

func (h *child) close() {
	h.closeOutput()
	h.closeControl()
	if h.leader != nil {
		_ = h.leader.Close()
		h.leader = nil
	}
}
