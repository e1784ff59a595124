package vm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What a watcher says when it wakes.
const slept = "the watcher was held up or the machine slept"

// often has a question outstanding soon, whatever the display.
var (
	short = []string{"--lost-after", "3s", "--interval", "2s"}
	usual = []string{"--interval", "2s"}
)

// checkSuspend: two suspends, each longer than every threshold, each with
// questions outstanding. Nothing ends by that; the same watchers then see a
// real end.
func (l *lab) checkSuspend() {
	near, near2, console := l.xvfb("near", ":381"), l.xvfb("near2", ":382"), l.xorg("console", ":383", 8, "-noreset")
	dummy := l.dummy("dummy", ":384")
	far, far2 := l.far(), l.far()
	gone := []*watcher{near.watch("near", short...), far.watch("far", short...)}
	nearUsual, farUsual := near2.watch("near2", usual...), far2.watch("far2", usual...)
	consoleWatcher, dummyWatcher := console.watch("console", short...), dummy.watch("dummy", usual...)
	asking := append([]*watcher{nearUsual, farUsual, dummyWatcher}, gone...)

	// Not the one on a terminal: the kernel switches terminals before it sleeps,
	// and waits for a stopped server to let go of its own.
	l.sleepDeep([]*display{near, near2, dummy, far, far2}, asking)
	for n, d := range []*display{near, far} {
		d.signal(sigKill)
		gone[n].over("server-gone")
	}
	consoleWatcher.watches()
	stopped, theirs := []*display{near2, dummy}, []*watcher{nearUsual, dummyWatcher}
	l.sleepIdle(stopped, theirs, far2, farUsual)
	consoleWatcher.watches()
	l.front(0, 8)
	for n, d := range append(stopped, console) {
		d.signal(sigKill)
		append(theirs, consoleWatcher)[n].over("server-gone")
	}
	l.must(l.Link(false))
	farUsual.over("link-lost")
	l.must(l.Link(true))
}

// sleepDeep: S3, in which the clock that the watcher judges by stands still.
// All servers are stopped before and continued only some time after.
func (l *lab) sleepDeep(displays []*display, watchers []*watcher) {
	l.t.Helper()
	for _, d := range displays {
		d.stop()
	}
	for _, w := range watchers {
		w.says("display is BUSY", 1)
	}
	const long = 65 * time.Second
	r, err := l.Suspend("mem", long)
	l.must(err)
	l.t.Logf("S3: CLOCK_BOOTTIME went on by %v, CLOCK_MONOTONIC by %v", r.Boot.Round(time.Millisecond), r.Monotonic.Round(time.Millisecond))
	if r.Suspends != 1 || r.Boot-r.Monotonic < 60*time.Second {
		l.t.Fatalf("that was no suspend of %v: %+v", long, r)
	}
	for _, w := range watchers {
		w.says(slept, 1)
	}
	l.pass(8 * time.Second) // awake, and still no answer
	for _, w := range watchers {
		w.watches()
	}
	for _, d := range displays {
		d.signal(sigCont)
	}
	for _, w := range watchers {
		w.says("display is OK: it answers", 1)
		w.watches()
	}
}

// sleepIdle: suspend-to-idle, in which everything is frozen for as long while
// qemu's clocks go on. The network comes back only 5 s after waking up, as a
// radio does.
func (l *lab) sleepIdle(displays []*display, watchers []*watcher, far *display, farWatcher *watcher) {
	l.t.Helper()
	for _, d := range displays {
		d.stop()
	}
	for _, w := range watchers {
		w.says("display is BUSY", 2)
	}
	l.must(l.Link(false))
	l.until("a question is on its way to nowhere", func() bool { return l.inFlight(far) > 0 })
	const long = 30 * time.Second
	r, err := l.Suspend("freeze", long)
	l.must(err)
	l.t.Logf("suspend-to-idle: CLOCK_BOOTTIME went on by %v, CLOCK_MONOTONIC by %v", r.Boot.Round(time.Millisecond), r.Monotonic.Round(time.Millisecond))
	if r.Suspends != 2 || r.Boot < 25*time.Second {
		l.t.Fatalf("that was no suspend of %v: %+v", long, r)
	}
	l.pass(5 * time.Second)
	if l.inFlight(far) == 0 {
		l.t.Error("the question has arrived over a cable that is not plugged in")
	}
	l.must(l.Link(true))
	l.until("the question has arrived", func() bool { return l.inFlight(far) == 0 })
	for _, d := range displays {
		d.signal(sigCont)
	}
	for _, w := range append(watchers, farWatcher) {
		w.says(slept, 1)
		w.watches()
	}
	for _, w := range watchers {
		w.says("display is OK: it answers", 2)
		w.watches()
	}
	farWatcher.watches()
}

// inFlight is how many bytes the machine's connections to a display have sent
// without an acknowledgement (proc_net_tcp(5): tx_queue).
func (l *lab) inFlight(d *display) (sum int) {
	l.t.Helper()
	_, number, _ := strings.Cut(d.name, ":")
	n, err := strconv.Atoi(number)
	l.must(err)
	// The remote address, the state, and the two queues.
	line := regexp.MustCompile(fmt.Sprintf(`:%04X \w\w (\w+):`, 6000+n))
	for _, found := range line.FindAllStringSubmatch(l.read("/proc/net/tcp"), -1) {
		queue, err := strconv.ParseUint(found[1], 16, 32)
		l.must(err)
		sum += int(queue)
	}
	return sum
}
