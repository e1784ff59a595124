package linux

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// CloseOnExecFrom marks every descriptor from first on (close_range(2) with
// CLOSE_RANGE_CLOEXEC, kernel 5.11; before that one by one).
func CloseOnExecFrom(first int) error {
	err := retry(func() error { return unix.CloseRange(uint(first), 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) })
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return callError("close_range", err)
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
