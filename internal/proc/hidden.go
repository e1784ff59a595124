package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"xexit/internal/linux"
	"xexit/internal/session"
)

// Hides reports whether this /proc may keep processes from us that we may
// signal (proc(5), hidepid): with hidepid=2 and 4 one that is not dumpable is
// missing even for its own user, with hidepid=1 it is listed and cannot be
// read. kill(2), pidfd_open(2) and the list of its parent's children know it
// all the same.
//
// The kernel is asked: it shows init, which normally is somebody else's, to
// whom it hides nothing. Only where init is ours to signal do the mount options
// tell; if they cannot be read the answer is yes.
func (fs *FS) Hides() bool {
	if !fs.real {
		return false
	}
	const initPID = 1
	if errors.Is(fs.MaySignal(initPID), ErrDenied) {
		_, err := fs.Stat(initPID)
		return err != nil
	}
	mounts, err := os.ReadFile(fs.root + "/self/mountinfo")
	return err != nil || HidePID(string(mounts), fs.root) != "" && !linux.MayTraceAll()
}

// HidePID is the option hidepid of the proc file system that is mounted on
// root, in the spelling of the kernel; "" if it hides nothing.
// mountinfo is /proc/self/mountinfo (proc_pid_mountinfo(5)).
func HidePID(mountinfo, root string) string {
	found := ""
	for line := range strings.SplitSeq(mountinfo, "\n") {
		before, after, _ := strings.Cut(line, " - ")
		fields, options := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || fields[4] != root || len(options) < 3 || options[0] != "proc" {
			continue
		}
		found = "" // the one that is mounted last is on top
		for option := range strings.SplitSeq(options[2], ",") {
			if value, ok := strings.CutPrefix(option, "hidepid="); ok && value != "0" && value != "off" {
				found = value
			}
		}
	}
	return found
}

// ListsChildren reports whether the kernel has the files that Children reads
// (CONFIG_PROC_CHILDREN, kernel 3.5).
func (fs *FS) ListsChildren() bool {
	fs.path = append(fs.path[:0], "thread-self/children\x00"...)
	_, errno := fs.dir.StatAt(fs.path)
	return errno == 0
}

// ErrRestless: the list of children changed each time that it was read.
var ErrRestless = errors.New("the children come and go too fast")

const childrenReads = 16

// Children appends the numbers of the children of pid to list, those included
// that this /proc hides. The kernel may leave some out when one exits while it
// lists them (proc_tid_children(5)), so the list is read until it comes out the
// same twice.
func (fs *FS) Children(pid int, list []int) ([]int, error) {
	from := len(list)
	var before []int
	for n := range childrenReads {
		var err error
		if list, err = fs.childrenOnce(pid, list[:from]); err != nil {
			return list[:from], err
		}
		if n > 0 && slices.Equal(before, list[from:]) {
			return list, nil
		}
		before = append(before[:0], list[from:]...)
	}
	return list[:from], fmt.Errorf("list children of %d: %w", pid, ErrRestless)
}

func (fs *FS) childrenOnce(pid int, list []int) ([]int, error) {
	tasks, err := os.ReadDir(string(bytes.TrimSuffix(fs.below(pid, "task"), []byte{0})))
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return list, wrap(pid, "task", errno)
		}
		return list, fmt.Errorf("list threads of %d: %w", pid, err)
	}
	for _, task := range tasks {
		data, err := os.ReadFile(string(bytes.TrimSuffix(fs.below(pid, "task/"+task.Name()+"/children"), []byte{0})))
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has exited, and its children are another one's
		}
		if err != nil {
			return list, fmt.Errorf("list children of %d: %w", pid, err)
		}
		for number := range bytes.FieldsSeq(data) {
			child, ok := parseUint(number)
			if !ok || child > 1<<31-1 {
				return list, malformed(pid, "children", "not a number")
			}
			list = append(list, int(child))
		}
	}
	return list, nil
}

func (fs *FS) below(pid int, file string) []byte {
	return append([]byte(fs.root+"/"), fs.name(pid, file)...)
}

// HasChild reports whether child is listed among the children of the process
// parent, which is still that process afterwards.
func (fs *FS) HasChild(parent session.ProcID, child int) bool {
	list, err := fs.Children(parent.PID, nil)
	if err != nil || !slices.Contains(list, child) {
		return false
	}
	s, err := fs.Stat(parent.PID)
	return err == nil && s.ID() == parent
}

// OpenChild is Open for a process that cannot be read: it is known as a child
// of parent, and still is one while the pidfd is open. Its identity has no
// start time.
func (fs *FS) OpenChild(pid int, parent session.ProcID) (*Ref, error) {
	fd, err := linux.OpenPidFD(pid)
	if err == nil {
		if !fs.HasChild(parent, pid) {
			err = ErrGone
		} else {
			err = fd.Signal(0)
		}
		if err == nil {
			return &Ref{id: session.ProcID{PID: pid}, fd: fd}, nil
		}
		_ = fd.Close()
	}
	if errors.Is(err, syscall.ESRCH) {
		return nil, ErrGone
	}
	return nil, fmt.Errorf("open reference to %d, child of %d: %w", pid, parent.PID, err)
}

// IsProcess reports whether pid is the number of a process, and not that of
// one of its threads, which kill(2) takes too, and whether it is dead and waits
// for its parent. ErrGone: it is neither.
func (fs *FS) IsProcess(pid int) (is, dead bool, err error) {
	fd, err := linux.OpenPidFD(pid)
	switch {
	case errors.Is(err, syscall.ESRCH):
		return false, false, ErrGone
	case errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT):
		return false, false, nil // a thread: EINVAL, or ENOENT on newer kernels
	case err != nil:
		return false, false, fmt.Errorf("ask what %d is: %w", pid, err)
	}
	dead, err = fd.Dead()
	if err = errors.Join(err, fd.Close()); err != nil {
		return false, false, fmt.Errorf("ask what %d is: %w", pid, err)
	}
	return true, dead, nil
}

// Signalable calls visit for every number in from+1..to that kill(2) lets us
// signal, the numbers of threads included. A number costs one call of the
// kernel, about 0.1 µs on an idle machine.
func (fs *FS) Signalable(from, to int, visit func(pid int)) {
	if !fs.real {
		return
	}
	linux.Signalable(from+1, to, visit)
}

// MaxPID is the number below which all process numbers are
// (/proc/sys/kernel/pid_max, proc_sys_kernel(5)).
func (fs *FS) MaxPID() (int, error) {
	fs.path = append(fs.path[:0], "sys/kernel/pid_max\x00"...)
	n, errno := fs.dir.ReadFile(fs.path, fs.file)
	if errno != 0 {
		return 0, fmt.Errorf("read pid_max: %w", errno)
	}
	limit, ok := parseUint(bytes.TrimSpace(fs.file[:n]))
	if !ok || limit > 1<<31 {
		return 0, errors.New("read pid_max: malformed")
	}
	return int(limit), nil
}
