package daemon

import (
	"time"

	"xexit/internal/linux"
)

// wall turns times of files into CLOCK_BOOTTIME, which nobody sets. What lies
// between the two clocks changes only when somebody sets the other one; so a
// file's time says something for as long as it has not.
type wall struct {
	ahead time.Duration // CLOCK_REALTIME, since its epoch, less CLOCK_BOOTTIME
	since time.Duration // CLOCK_BOOTTIME: it has been known to be that much since then
}

const (
	// wallNear is what two readings of ahead may differ by. The kernel dates
	// files by its last tick, too.
	wallNear  = 5 * time.Millisecond
	wallTries = 3
)

// of is CLOCK_BOOTTIME when a file was written; 0: not known, as for all that
// was written before this was first asked.
func (w *wall) of(written time.Time) time.Duration {
	ahead, now, ok := readWall()
	if !ok {
		return 0
	}
	if w.since == 0 || (ahead-w.ahead).Abs() > wallNear {
		*w = wall{ahead: ahead, since: now}
	}
	if written.IsZero() {
		return 0
	}
	at := time.Duration(written.UnixNano()) - w.ahead
	if at < w.since-wallNear || at > now+wallNear {
		return 0
	}
	return min(at, now)
}

// readWall reads both clocks so close together that they are of one moment.
func readWall() (ahead, now time.Duration, ok bool) {
	for range wallTries {
		before, err := linux.Now()
		real := time.Now().UnixNano()
		after, err2 := linux.Now()
		if err != nil || err2 != nil {
			return 0, 0, false
		}
		if after.Boot-before.Boot < wallNear/2 {
			return time.Duration(real) - before.Boot, after.Boot, true
		}
	}
	return 0, 0, false
}
