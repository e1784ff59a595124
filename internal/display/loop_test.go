package display

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/linux"
)

func TestTimers(t *testing.T) {
	l := &loop{}
	var all []*timer
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		all = append(all, newTimer(nil))
	}
	for range 5000 {
		tm := all[random.IntN(len(all))]
		when := time.Duration(random.IntN(1000))
		if when%5 == 0 {
			when = never
		}
		l.schedule(tm, when)
	}
	var order []time.Duration
	for len(l.timers) > 0 {
		tm := l.timers[0]
		order = append(order, tm.when)
		l.schedule(tm, never)
		l.schedule(tm, never) // twice does no harm
	}
	if len(order) < 50 || !slices.IsSorted(order) {
		t.Errorf("%d timers, sorted %v", len(order), slices.IsSorted(order))
	}
}

// The loop tells the machine of a suspend, which the monotonic clock hides, and
// takes in what has arrived before a timer fires.
func TestClocks(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	var shift linux.Clocks
	l, err := newLoop(func() (linux.Clocks, error) {
		c, err := linux.Now()
		return linux.Clocks{Monotonic: c.Monotonic + shift.Monotonic, Boot: c.Boot + shift.Boot}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.close() })
	o := Options{Name: srv.Display(), Interval: time.Hour, BlindAfter: time.Hour}
	var notes []string
	o.Report = func(s State, text string) { notes = append(notes, fmt.Sprint(s, " ", text)) }
	tg := newTarget(l)
	tg.happened = func(*target, What) {}
	if err := tg.prepare(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tg.close)
	tg.open()
	if err := l.run(func() bool { return tg.begun }); err != nil {
		t.Fatal(err)
	}
	step := func() {
		t.Helper()
		fired := false
		tm := newTimer(func() { fired = true; tg.tick() })
		l.schedule(tm, l.now)
		if err := l.run(func() bool { return fired }); err != nil {
			t.Fatal(err)
		}
	}
	step()
	if len(notes) != 0 {
		t.Fatal(notes)
	}
	shift.Boot += 8 * time.Hour // a night in suspend
	step()
	if len(notes) != 1 || l.asleep < 8*time.Hour-time.Second {
		t.Fatalf("%q, asleep %v", notes, l.asleep)
	}
	shift.Boot += 3 * time.Hour // stopped for three
	shift.Monotonic += 3 * time.Hour
	step()
	if len(notes) != 2 || tg.machine.State() != OK {
		t.Fatalf("%q, %v", notes, tg.machine.State())
	}
}
