package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sleep asks for a suspend.
type Sleep struct {
	State string        // of /sys/power/state: mem is S3, freeze is suspend-to-idle
	Alarm time.Duration // of the real-time clock, which ends it; 0: something else does
}

// Slept is what the clocks say of a suspend, and how often the kernel says to
// have suspended since it was booted.
type Slept struct {
	Boot, Monotonic time.Duration // by which each clock went on
	Suspends        int
}

// Sleep suspends the machine and returns once it is awake.
func (g *Guest) Sleep(s Sleep, r *Slept) error {
	// A key of the keyboard may wake it.
	wakers, _ := filepath.Glob("/sys/devices/platform/i8042/serio*/power/wakeup")
	for _, file := range wakers {
		if err := os.WriteFile(file, []byte("enabled"), 0); err != nil {
			return err
		}
	}
	const alarm = "/sys/class/rtc/rtc0/wakealarm"
	err := os.WriteFile(alarm, []byte("0"), 0)
	if err == nil && s.Alarm > 0 {
		err = os.WriteFile(alarm, fmt.Appendf(nil, "+%d", s.Alarm/time.Second), 0)
	}
	if err != nil {
		return err
	}
	boot, mono := clock(unix.CLOCK_BOOTTIME), clock(unix.CLOCK_MONOTONIC)
	if err := os.WriteFile("/sys/power/state", []byte(s.State), 0); err != nil {
		return err
	}
	r.Boot, r.Monotonic = clock(unix.CLOCK_BOOTTIME)-boot, clock(unix.CLOCK_MONOTONIC)-mono
	text, err := os.ReadFile("/sys/power/suspend_stats/success")
	if err != nil {
		return err
	}
	r.Suspends, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return err
}

func clock(id int32) time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(id, &now) // these clocks always are
	return time.Duration(now.Nano())
}

// From <linux/vt.h>.
const (
	vtGetState   = 0x5603
	vtActivate   = 0x5606
	vtWaitActive = 0x5607
)

// Terminal switches to virtual terminal n, as Ctrl-Alt-Fn does, and returns
// when that is done; 0 asks only. active is the one in front then.
func (g *Guest) Terminal(n int, active *int) error {
	console, err := os.OpenFile("/dev/tty0", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer console.Close()
	fd := int(console.Fd())
	if n > 0 {
		for _, call := range []uint{vtActivate, vtWaitActive} {
			if err := unix.IoctlSetInt(fd, call, n); err != nil {
				return errors.Join(fmt.Errorf("switch to terminal %d", n), err)
			}
		}
	}
	// struct vt_stat begins with v_active, an unsigned short.
	state, err := unix.IoctlGetInt(fd, vtGetState)
	*active = state & 0xffff
	return err
}
