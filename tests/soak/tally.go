package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// tally counts what happened. Any number of seats may use it at once.
type tally struct {
	o     options
	start time.Time

	mu    sync.Mutex
	kinds map[string]*count
}

// count is the tally of one kind of displays.
type count struct {
	faults  map[string]int
	lost    int // packets
	unclear int // ends that were neither right nor wrong
	falses  int
	missed  int
	ends    map[string][]time.Duration // by what ended it: from the event to PROGRAM
	reasons map[string]int
}

func newTally(o options) *tally {
	t := &tally{o: o, start: time.Now(), kinds: make(map[string]*count)}
	for _, kind := range []string{kindUnix, kindTCP, kindSSH, "cpu"} {
		t.kinds[kind] = &count{faults: make(map[string]int), ends: make(map[string][]time.Duration), reasons: make(map[string]int)}
	}
	return t
}

func (t *tally) add(kind string, change func(*count)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t.kinds[kind])
}

func (t *tally) fault(kind, name string)    { t.add(kind, func(c *count) { c.faults[name]++ }) }
func (t *tally) dropped(kind string, n int) { t.add(kind, func(c *count) { c.lost += n }) }
func (t *tally) unclear(kind string)        { t.add(kind, func(c *count) { c.unclear++ }) }
func (t *tally) wrong(kind, story string)   { t.fail(kind, story, func(c *count) { c.falses++ }) }
func (t *tally) missed(kind, story string)  { t.fail(kind, story, func(c *count) { c.missed++ }) }

func (t *tally) fail(kind, story string, change func(*count)) {
	t.add(kind, change)
	t.o.say("%s    seed %d", story, t.o.seed)
}

func (t *tally) seen(kind, end, reason string, took time.Duration) {
	t.add(kind, func(c *count) {
		c.ends[end] = append(c.ends[end], took)
		c.reasons[end+": "+reason]++
	})
}

func (c *count) all() (faults int, ends []time.Duration) {
	for _, n := range c.faults {
		faults += n
	}
	for _, took := range c.ends {
		ends = append(ends, took...)
	}
	return faults, ends
}

// report says each minute how it goes.
func (t *tally) report(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.o.say("%s", t.progress())
		case <-ctx.Done():
			return
		}
	}
}

func (t *tally) progress() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	falses, missed := 0, 0
	for _, kind := range []string{kindUnix, kindTCP, kindSSH} {
		c := t.kinds[kind]
		faults, ends := c.all()
		parts = append(parts, fmt.Sprintf("%s %d faults, %d ends", kind, faults, len(ends)))
		falses, missed = falses+c.falses, missed+c.missed
	}
	return fmt.Sprintf("%v: %s; %d false, %d missed", time.Since(t.start).Round(time.Second), strings.Join(parts, "; "), falses, missed)
}

// verdict is an error unless every decision was right.
func (t *tally) verdict() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	falses, missed := 0, 0
	for _, c := range t.kinds {
		falses, missed = falses+c.falses, missed+c.missed
	}
	if falses+missed > 0 {
		return fmt.Errorf("%d false ends, %d missed ends; seed %d", falses, missed, t.o.seed)
	}
	return nil
}

// summary is a table for each kind, then one for each way to end.
func (t *tally) summary() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nseed %d, %v\nkind\tfaults\tpackets lost\tfalse ends\tunclear\treal ends\tseen\tmedian\tworst\n", t.o.seed, time.Since(t.start).Round(time.Second))
	for _, kind := range []string{kindUnix, kindTCP, kindSSH} {
		c := t.kinds[kind]
		faults, ends := c.all()
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", kind, faults, c.lost, c.falses, c.unclear, len(ends)+c.missed, len(ends), times(ends))
	}
	fmt.Fprint(w, "\nkind\tend\tseen\tmedian\tworst\treasons\n")
	for _, kind := range []string{kindUnix, kindTCP, kindSSH} {
		c := t.kinds[kind]
		for _, end := range slices.Sorted(maps.Keys(c.ends)) {
			var reasons []string
			for _, reason := range slices.Sorted(maps.Keys(c.reasons)) {
				if which, why, _ := strings.Cut(reason, ": "); which == end {
					reasons = append(reasons, fmt.Sprintf("%s %d", why, c.reasons[reason]))
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", kind, end, len(c.ends[end]), times(c.ends[end]), strings.Join(reasons, ", "))
		}
	}
	fmt.Fprint(w, "\nkind\tfault\tcount\n")
	for _, kind := range []string{kindUnix, kindTCP, kindSSH, "cpu"} {
		c := t.kinds[kind]
		for _, fault := range slices.Sorted(maps.Keys(c.faults)) {
			fmt.Fprintf(w, "%s\t%s\t%d\n", kind, fault, c.faults[fault])
		}
	}
	_ = w.Flush()
	return b.String()
}

// times are median and worst, two columns.
func times(all []time.Duration) string {
	if len(all) == 0 {
		return "-\t-"
	}
	all = slices.Sorted(slices.Values(all))
	return fmt.Sprintf("%s\t%s", short(all[len(all)/2]), short(all[len(all)-1]))
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
