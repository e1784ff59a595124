package linux

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// GrowFDTable makes room for n descriptors at once. The kernel otherwise
// doubles the table each time that it is full and, in a process with threads,
// waits each time for an RCU grace period (some 10 ms): a burst of opens would
// pay for each doubling. Where RLIMIT_NOFILE is lower the table grows up to
// that. It waits for one grace period, or returns at once where the table is
// large enough already; any goroutine may call it while others open files.
func GrowFDTable(n int) error {
	limit, err := OpenFileLimit()
	if err != nil {
		return err
	}
	if limit <= 1 || n <= 1 {
		return nil
	}
	null, err := retryFD(func() (int, error) { return unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0) })
	if err != nil {
		return callError("open", err)
	}
	defer unix.Close(null)
	high, err := retryFD(func() (int, error) {
		return unix.FcntlInt(uintptr(null), unix.F_DUPFD_CLOEXEC, min(n, limit)-1)
	})
	if errors.Is(err, syscall.EMFILE) { // all of the table is in use: it is that large
		return nil
	}
	if err != nil {
		return callError("fcntl F_DUPFD_CLOEXEC", err)
	}
	return callError("close", unix.Close(high))
}

// OpenFileLimit is the soft RLIMIT_NOFILE of this process: descriptors are
// below it (getrlimit(2)). The Go runtime has raised it to the hard limit.
func OpenFileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, callError("getrlimit", err)
	}
	const most = 1 << 30 // RLIM_INFINITY does not fit into an int on 32 bit machines
	return int(min(limit.Cur, most)), nil
}
