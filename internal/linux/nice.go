package linux

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const autogroupFile = "/proc/self/autogroup"

// WithNice runs f at another nice value, of this thread and of the scheduler's
// group of this session (sched(7), autogroup), and restores both. Where the
// kernel refuses or has no such groups, f runs without. Goroutines that f
// starts keep their own value.
func WithNice(nice int, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The bare system call gives 20 less the value (getpriority(2)).
	if raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && unix.Setpriority(unix.PRIO_PROCESS, 0, nice) == nil {
		defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-raw) }()
	}
	if old, ok := autogroupNice(); ok && setAutogroupNice(nice) {
		defer setAutogroupNice(old)
	}
	f()
}

// autogroupNice reads "/autogroup-25 nice 0".
func autogroupNice() (int, bool) {
	text, err := os.ReadFile(autogroupFile)
	if err != nil {
		return 0, false
	}
	_, value, found := strings.Cut(strings.TrimSpace(string(text)), " nice ")
	n, err := strconv.Atoi(value)
	return n, found && err == nil
}

func setAutogroupNice(nice int) bool {
	return os.WriteFile(autogroupFile, []byte(strconv.Itoa(nice)), 0) == nil
}
