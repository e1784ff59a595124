package watcher

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xexit/internal/display"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// fakeWatch is a display: Run returns what comes through gone.
type fakeWatch struct {
	gone   chan outcome
	probed chan time.Duration
}

func (w *fakeWatch) Run(ctx context.Context) (display.End, error) {
	select {
	case o := <-w.gone:
		return o.end, o.err
	case <-ctx.Done():
		return display.End{}, ctx.Err()
	}
}
func (w *fakeWatch) Probe(within time.Duration) { w.probed <- within }
func (w *fakeWatch) Close() error               { return nil }

var errNobody = errors.New("nobody there")

func TestVigilTriesForItsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries, failures := 0, 0
		v := &vigil{patience: openPatience, opened: func() { t.Error("opened") }, failed: func(error) { failures++ }}
		v.open = func(context.Context, display.Options) (watch, error) { tries++; return nil, errNobody }
		began := time.Now()
		o := <-v.start(t.Context())
		if !errors.Is(o.err, errNobody) || time.Since(began) != openPatience { // a bubble's clock is exact
			t.Errorf("%v after %v", o.err, time.Since(began))
		}
		if tries < 30 || failures != tries {
			t.Errorf("%d tries, %d failures told", tries, failures)
		}
	})
}

func TestVigilTakesARefusalAsFinal(t *testing.T) {
	v := &vigil{patience: openPatience, failed: func(error) { t.Error("tried again") }}
	v.open = func(context.Context, display.Options) (watch, error) {
		return nil, &display.RefusedError{Err: errNobody}
	}
	if _, err := v.run(t.Context()); !errors.Is(err, errNobody) {
		t.Error(err)
	}
}

// What fails while watching is no end: the display is opened anew.
func TestVigilStartsOver(t *testing.T) {
	w := &fakeWatch{gone: make(chan outcome, 2)}
	w.gone <- outcome{err: errNobody}
	w.gone <- outcome{end: display.End{Run: true}}
	opens, failures := 0, 0
	v := &vigil{patience: openPatience, opened: func() { opens++ }, failed: func(error) { failures++ }}
	v.open = func(context.Context, display.Options) (watch, error) { return w, nil }
	if end, err := v.run(t.Context()); err != nil || !end.Run || opens != 2 || failures != 1 {
		t.Errorf("%+v, %v; opened %d times, failed %d times", end, err, opens, failures)
	}
}

// Asked to leave after the leader has exited, it takes the session to be over,
// though the display and programs on it are there.
func TestSignalAfterTheLeader(t *testing.T) {
	for _, exited := range []bool{true, false} {
		stdin, hold, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		leader, err := os.StartProcess("/bin/cat", []string{"cat"}, &os.ProcAttr{
			Files: []*os.File{stdin, hold, hold}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
		})
		if err != nil {
			t.Fatal(err)
		}
		ref, err := linux.OpenPidFD(leader.Pid)
		if err != nil {
			t.Fatal(err)
		}
		end := func() { _ = leader.Kill(); _, _ = leader.Wait() }
		if exited {
			end()
		}
		r := &resident{leaderFD: ref.FD()}
		got, err := r.judge(outcome{err: display.ErrAlive})
		if exited != (err == nil) || got.Run != exited {
			t.Errorf("leader exited %v: %+v, %v", exited, got, err)
		}
		end()
		for _, c := range []io.Closer{ref, stdin, hold} {
			_ = c.Close()
		}
	}
}

// A signal while nothing has answered yet: there is nothing to find out.
func TestSignalBeforeTheDisplayAnswers(t *testing.T) {
	r := &resident{patience: openPatience, leaderFD: -1, signals: make(chan os.Signal, 1)}
	r.report.now = time.Now
	r.word = func(string, string) bool { return true }
	r.open = func(ctx context.Context, _ display.Options) (watch, error) {
		r.signals <- os.Interrupt
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := r.watch(t.Context()); !errors.Is(err, errLeft) {
		t.Error(err)
	}
}

// endedWatch is a display that has ended and whose end is not told yet when the
// signal comes.
type endedWatch struct {
	fakeWatch
	signals chan os.Signal
}

func (w *endedWatch) Close() error {
	w.signals <- syscall.SIGTERM
	return nil
}

func TestSignalRightAfterTheEnd(t *testing.T) {
	r := &resident{patience: openPatience, leaderFD: -1, signals: make(chan os.Signal)}
	r.report.now = time.Now
	r.word = func(string, string) bool { return true }
	w := &endedWatch{fakeWatch{gone: make(chan outcome, 1)}, r.signals}
	w.gone <- outcome{end: display.End{Reason: session.ReasonServerGone, Run: true}}
	r.open = func(context.Context, display.Options) (watch, error) { return w, nil }
	if end, err := r.watch(t.Context()); err != nil || !end.Run {
		t.Errorf("%+v, %v", end, err)
	}
}

// A display that answers neither way lives.
func TestProbeWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWatch{gone: make(chan outcome), probed: make(chan time.Duration, 1)}
		r := &resident{patience: openPatience, leaderFD: -1, signals: make(chan os.Signal, 2)}
		r.report.now = time.Now
		r.word = func(string, string) bool { r.signals <- os.Interrupt; r.signals <- os.Interrupt; return true }
		r.open = func(context.Context, display.Options) (watch, error) { return w, nil }
		if _, err := r.watch(t.Context()); !errors.Is(err, display.ErrAlive) {
			t.Error(err)
		}
		if within := <-w.probed; within != probeWithin {
			t.Errorf("probed within %v", within)
		}
		synctest.Wait()
	})
}
