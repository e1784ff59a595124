package display

import (
	"errors"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/session"
)

// Every kind of display passes the same checks, with the same watcher: one that
// connects itself and one that has somebody else connect.
func TestConformance(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { conforms(t, k.make) })
		t.Run(k.name+", through an opener", func(t *testing.T) {
			conforms(t, func(t *testing.T) kind { return openedKind{k.make(t)} })
		})
	}
}

func conforms(t *testing.T, make func(t *testing.T) kind) {
	t.Run("life", func(t *testing.T) { life(t, make(t)) })
	t.Run("killed while stopped", func(t *testing.T) { killedWhileStopped(t, make(t)) })
	t.Run("replaced at once", func(t *testing.T) { replacedAtOnce(t, make(t)) })
	t.Run("close leaves nothing", func(t *testing.T) { closeLeavesNothing(t, make(t)) })
}

// often are options with which what happens is noticed soon.
func often(k kind) Options {
	o := k.options()
	o.Interval, o.LostAfter = 20*time.Millisecond, 300*time.Millisecond
	return o
}

// silent is what a display is that does not answer and has not gone: at the
// end of a relay, which the port of a server with a high number looks like,
// nothing else can be known.
func (r *watching) silent(from int) int {
	r.t.Helper()
	link := make(chan Link, 1)
	r.target.loop.post(func() { link <- r.target.cur.link })
	if <-link == Relayed {
		return r.await(BLIND, from)
	}
	return r.await(BUSY, from)
}

// life: what happens to a display that is watched by several, up to its end.
func life(t *testing.T, k kind) {
	server := k.start(t)
	o := k.options()
	o.Interval = 20 * time.Millisecond
	calm := start(t, o)

	// Nothing happens, for many pings: nothing is reported.
	calm.Probe(500 * time.Millisecond)
	<-calm.done
	if !errors.Is(calm.err, ErrAlive) || calm.count() != 0 {
		t.Fatalf("%+v, %v; %d reports", calm.end, calm.err, calm.count())
	}
	calm.run()

	w, beside := start(t, often(k)), start(t, often(k))
	server.stop()
	n, m := w.silent(0), beside.silent(0)
	server.cont()
	n, m = w.await(OK, n), beside.await(OK, m)

	// Only our connection breaks: it is the same display that answers.
	w.target.loop.post(func() { w.target.cur.fail(Dropped, syscall.ECONNRESET) })
	n = w.await(CONFIRM, n)
	n = w.await(OK, n)
	server.stop()
	n, m = w.silent(n), beside.silent(m)
	server.cont()
	w.await(OK, n)
	beside.await(OK, m)
	w.alive()
	beside.alive()
	if beside.has(CONFIRM) {
		t.Error("the other watcher's connection broke too")
	}

	server.kill()
	for _, each := range []*watching{w, beside, calm} {
		if e := each.over(session.ReasonServerGone); !e.Run {
			t.Errorf("%+v", e)
		}
	}
}

// killedWhileStopped: with a question unread the kernel reports a reset where
// there is an end of file otherwise.
func killedWhileStopped(t *testing.T, k kind) {
	server := k.start(t)
	w := start(t, often(k))
	server.stop()
	w.silent(0)
	w.alive()
	server.kill()
	w.over(session.ReasonServerGone)
}

// replacedAtOnce: somebody else answers under the name before the watcher has
// looked.
func replacedAtOnce(t *testing.T, k kind) {
	server := k.start(t)
	w, j := open(t, k.options())
	server.kill()
	again := k.start(t)
	r := &watching{Watch: w, journal: j, t: t}
	r.run()
	if e := r.over(session.ReasonServerGone); !strings.Contains(e.Noticed, "another display answers") {
		t.Errorf("%+v", e)
	}
	// What is there now is alive, and another watcher's.
	next := start(t, k.options())
	next.Probe(time.Millisecond)
	<-next.done
	if !errors.Is(next.err, ErrAlive) {
		t.Errorf("%+v, %v", next.end, next.err)
	}
	again.kill()
}

func closeLeavesNothing(t *testing.T, k kind) {
	server := k.start(t)
	o := k.options()
	open := func() {
		w, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	open() // the first one lets the runtime open what it keeps
	before, running := descriptors(t), runtime.NumGoroutine()
	for range 5 {
		open()
	}
	waitFor(t, func() bool { return descriptors(t) <= before && runtime.NumGoroutine() <= running })
	server.kill()
}
