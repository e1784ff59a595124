package daemon

import (
	"testing"
	"time"

	"xexit/internal/login"
	"xexit/internal/member"
)

// TestNoticedAfter: an end's request says how long it took to notice it where
// that can be known: no longer than the test has seen it take.
func TestNoticedAfter(t *testing.T) {
	b := newBench(t)
	b.source.set("9", b.closing("9", time.Now().Add(-time.Second))) // it may have been closing for a day
	d := b.run()
	b.awaitPhase("9", login.Done)
	for id, tt := range map[string]struct {
		happens func(id string)
		known   bool
	}{
		"1": {func(id string) { b.end(b.open(id, "alice")) }, true},
		"2": {func(id string) { b.open(id, "alice"); b.source.set(id, b.closing(id, time.Now())) }, true},
		"3": {func(id string) { b.open(id, "alice"); b.source.set(id, b.closing(id, time.Time{})) }, false},
		"4": {func(id string) { b.open(id, "alice"); b.source.set(id, b.closing(id, time.Now().Add(-time.Hour))) }, false},
		"5": {func(id string) { b.open(id, "alice"); b.source.set(id, b.closing(id, time.Now().Add(time.Hour))) }, false},
		"6": {func(id string) {
			b.source.set(id, b.login(id, "alice", 0))
			b.awaitPhase(id, login.Open)
			b.source.set(id, nil)
		}, true},
		"7": {func(id string) { b.open(id, "alice"); b.ask(d, 0, id) }, true},
		"9": {func(string) {}, false},
	} {
		began := time.Now()
		tt.happens(id)
		b.until("the end of "+id+" is asked for", func() bool { return len(b.asked(id)) == 1 })
		if us := b.asked(id)[0].NoticedUS; tt.known && (us <= 0 || us > time.Since(began).Microseconds()) || !tt.known && us != 0 {
			t.Errorf("login %s: noticed after %d µs, known %v", id, us, tt.known)
		}
	}
}

func (b *bench) closing(id string, written time.Time) (l *member.Login) {
	l = b.login(id, "alice", 0)
	l.State, l.Written = "closing", written
	return l
}

// TestWall: what was written before somebody set the clock says nothing, nor
// what was written before anybody looked at it.
func TestWall(t *testing.T) {
	var w wall
	before := time.Now()
	w.of(time.Time{})
	if at := w.of(before.Add(-time.Second)); at != 0 {
		t.Errorf("written before: %v", at)
	}
	w.since -= time.Minute // as if it had been asked for so long
	written := time.Now().Add(-time.Second)
	if at := w.of(written); at < w.since {
		t.Errorf("written a second ago: %v, since %v", at, w.since)
	}
	w.ahead += time.Minute // as if it had been set back by that
	if at := w.of(written); at != 0 {
		t.Errorf("the clock was set since: %v", at)
	}
	if at := w.of(time.Now()); at == 0 {
		t.Error("written after the clock was set: not known")
	}
}

// TestDirtyFirst: the first word of a change counts, and a look that nobody
// asked for is none.
func TestDirtyFirst(t *testing.T) {
	d := newDirty()
	d.add("1", 0)
	d.add("1", 5)
	d.add("1", 9)
	d.add("2", 0)
	if got := d.take(); len(got) != 2 || got["1"] != 5 || got["2"] != 0 {
		t.Errorf("%v", got)
	}
	d.add("1", 5)
	d.add("", 6)
	d.add("2", 7)
	if got := d.take(); len(got) != 1 || got[""] != 0 {
		t.Errorf("%v", got)
	}
}
