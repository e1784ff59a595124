package proc

import (
	"bytes"
	"strconv"
	"syscall"

	"xexit/internal/linux"
)

// execRetries bounds how often Environ asks again while a process is inside
// execve(2), each time after giving up the processor.
const execRetries = 16

// Environ calls visit for each of the wanted variables that is in the
// environment which pid was started with, once, with the index of its name
// and its value. The value lies in a buffer: copy what is to stay. A value
// longer than 32 KiB is cut.
//
// This is the image of exec time; the process may have written over it, so it
// is a hint and no proof. Of a variable that is there twice the first counts,
// as for getenv(3). Kernel threads have none.
//
// ErrDenied: not ours, or not dumpable. ErrExecuting: there was nothing to be
// read yet, several times. ErrGone: it is dead, or has no memory any more.
//
// Environ may block for seconds, because it needs the memory map of the other
// process, and for ever if a page of its stack is backed by FUSE or
// userfaultfd(2): call it from a goroutine that can be given up, with an FS of
// its own.
func (fs *FS) Environ(pid int, names []string, visit func(name int, value []byte)) error {
	task := 0
	for range execRetries {
		n, errno := fs.environ(pid, task, names, visit)
		switch errno {
		case 0:
			if n > 0 {
				return nil
			}
		case syscall.ESRCH, syscall.EACCES:
			// Without a memory (kernel thread, zombie) newer kernels, 6.18
			// among them, say ESRCH instead of nothing; and such a task looks
			// as if it were not dumpable.
		default:
			return wrap(pid, "environ", errno)
		}
		s := Stat{Comm: fs.comm}
		if err := fs.ReadStat(pid, &s); err != nil {
			return err
		}
		fs.comm = s.Comm
		switch {
		case s.Kernel():
			return nil
		case s.Exiting() && s.Threads > 1 && task == 0:
			// The leader has exited and its memory belongs to the other
			// threads only.
			if task = fs.otherTask(pid); task == 0 {
				return ErrGone
			}
			continue
		case s.Exiting() && (task == 0 || errno != syscall.EACCES):
			return ErrGone
		case errno == syscall.EACCES:
			return ErrDenied
		case errno == 0 && s.EnvEnd != 0:
			return nil // it is empty (env -i)
		}
		linux.Yield() // inside execve: env_end is not set yet
	}
	return ErrExecuting
}

// environ streams one environ file through the window and returns how much it
// held.
func (fs *FS) environ(pid, task int, names []string, visit func(int, []byte)) (total int, errno syscall.Errno) {
	path := fs.name(pid, "environ")
	if task != 0 {
		path = strconv.AppendInt(append(strconv.AppendInt(fs.path[:0], int64(pid), 10), "/task/"...), int64(task), 10)
		path = append(path, "/environ\x00"...)
		fs.path = path
	}
	fd, errno := fs.dir.OpenRead(path)
	if errno != 0 {
		return 0, errno
	}
	defer linux.CloseFD(fd)
	scan := envScan{names: names, left: len(names)}
	fill := 0
	for scan.left > 0 {
		n, errno := linux.ReadFD(fd, fs.env[fill:])
		if errno != 0 {
			return total, errno
		}
		if n == 0 {
			if fill > 0 {
				scan.take(fs.env[:fill], visit)
			}
			break
		}
		total += n
		fill += n
		used := scan.window(fs.env[:fill], visit)
		fill = copy(fs.env, fs.env[used:fill])
		if fill == len(fs.env) {
			scan.take(fs.env, visit)
			scan.skip = true // until the NUL that ends it
			fill = 0
		}
	}
	return total, 0
}

// envScan looks for names in a stream of NAME=VALUE\0.
type envScan struct {
	names []string
	seen  uint64 // bit for each of names, which are few
	left  int
	skip  bool // the rest of an entry that was too long for the window
}

// window takes all entries that end in data and returns how much that was.
func (e *envScan) window(data []byte, visit func(int, []byte)) (used int) {
	for {
		i := bytes.IndexByte(data[used:], 0)
		if i < 0 {
			if e.skip {
				return len(data)
			}
			return used
		}
		if e.skip {
			e.skip = false
		} else {
			e.take(data[used:used+i], visit)
		}
		used += i + 1
	}
}

// take looks at one entry.
func (e *envScan) take(entry []byte, visit func(int, []byte)) {
	if e.skip {
		return
	}
	for i, name := range e.names {
		if len(entry) > len(name) && entry[len(name)] == '=' && string(entry[:len(name)]) == name {
			if e.seen&(1<<i) == 0 {
				e.seen |= 1 << i
				e.left--
				visit(i, entry[len(name)+1:])
			}
			return
		}
	}
}

// otherTask is a thread of pid other than its leader; 0 if there is none.
func (fs *FS) otherTask(pid int) int {
	dir, err := linux.OpenDir(fs.root + "/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return 0
	}
	defer func() { _ = dir.Close() }()
	var buf [1024]byte
	for {
		n, err := dir.ReadEntries(buf[:])
		if err != nil || n == 0 {
			return 0
		}
		for rest := buf[:n]; ; {
			_, name, next, ok := linux.NextEntry(rest)
			if !ok {
				break
			}
			rest = next
			if tid, ok := parseUint(name); ok && int(tid) != pid {
				return int(tid)
			}
		}
	}
}
