package linux

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clocks are two readings of one moment (clock_gettime(2)): Monotonic stands
// still while the machine is suspended, Boot goes on. What their difference
// grew by was spent asleep.
type Clocks struct{ Monotonic, Boot time.Duration }

// Now reads both clocks.
func Now() (Clocks, error) {
	mono, err := readClock(unix.CLOCK_MONOTONIC)
	if err != nil {
		return Clocks{}, err
	}
	boot, err := readClock(unix.CLOCK_BOOTTIME)
	return Clocks{Monotonic: mono, Boot: boot}, err
}

func readClock(clock int32) (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(clock, &ts)
	return time.Duration(ts.Nano()), callError("clock_gettime", err)
}

// ProcessorTime is what this process has used of processors so far, by all its
// threads.
func ProcessorTime() (time.Duration, error) { return readClock(unix.CLOCK_PROCESS_CPUTIME_ID) }
