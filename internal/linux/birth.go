package linux

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrGone reports a process that does not run any more: there is none of that
// number, or only a zombie.
var ErrGone = errors.New("process is gone")

// TicksPerSecond is the unit of the start times in /proc/PID/stat: USER_HZ,
// which is 100 in every ABI that Go runs on (time(7)).
const TicksPerSecond = 100

// BootTicks is now in clock ticks since boot, suspend included: the clock of
// the start times in /proc/PID/stat (since kernel 5.5; proc(5)).
func BootTicks() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return uint64(ts.Sec)*TicksPerSecond + uint64(ts.Nsec)/(1e9/TicksPerSecond)
}

// Birth returns the start time of the process that has pid now, in clock ticks
// since boot (field 22 of /proc/PID/stat). ErrGone: it does not run any more.
// Any other error leaves that open (hidepid, no /proc).
func Birth(pid int) (uint64, error) {
	var room [statSize]byte
	stat, err := ReadSmall("/proc/"+strconv.Itoa(pid)+"/stat", room[:])
	if err != nil {
		return 0, birthError(pid, err)
	}
	// The command name may hold anything, also ") R 1": count from the last ')'.
	number := 3
	for field := range bytes.FieldsSeq(stat[bytes.LastIndexByte(stat, ')')+1:]) {
		switch number {
		case 3:
			if field[0] == 'Z' || field[0] == 'X' {
				return 0, fmt.Errorf("read start time of %d: %w", pid, ErrGone)
			}
		case 22:
			start, err := strconv.ParseUint(string(field), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read start time of %d: %w", pid, err)
			}
			return start, nil
		}
		number++
	}
	return 0, fmt.Errorf("read start time of %d: short stat line", pid)
}

// statSize has room for the first 22 fields of /proc/PID/stat: a name of at
// most 64 bytes (of a kernel thread) and numbers of at most 20 digits.
const statSize = 512

// birthError tells 'gone' from 'hidden' by asking the kernel directly.
func birthError(pid int, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("read start time of %d: %w", pid, err)
	}
	p, open := OpenPidFD(pid)
	if open == nil {
		_ = p.Close()
		return fmt.Errorf("read start time of %d: %w", pid, err)
	}
	if errors.Is(open, syscall.ESRCH) {
		return fmt.Errorf("read start time of %d: %w", pid, ErrGone)
	}
	return fmt.Errorf("read start time of %d: %w", pid, err)
}
