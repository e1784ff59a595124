package displayd

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"xexit/internal/display"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// ask asks the daemon for a connection.
func (w *worker) ask(v *watch, done func(display.Connection, error)) {
	if w.daemon == nil || w.keys[v.key] != v {
		done(display.Connection{}, fmt.Errorf("%w: there is no daemon to ask", display.ErrUnable))
		return
	}
	w.lastAsk++
	n := w.lastAsk
	over := time.AfterFunc(resultPatience, func() { w.do(func() { w.answer(n, none) }) })
	w.asked[n] = request{done: done, over: over}
	w.daemon.send(message{Say: sayOpen, Login: v.login, N: n, Again: v.begun || v.spec.Resume != ""}, none)
}

// answer passes on what became of a request: a descriptor on which the opener
// answers, or nothing.
func (w *worker) answer(n uint64, fd int) {
	r, ok := w.asked[n]
	if !ok {
		closeFD(fd)
		return
	}
	delete(w.asked, n)
	r.over.Stop()
	if fd == none {
		r.done(display.Connection{}, fmt.Errorf("%w: no opener could be had", display.ErrUnable))
		return
	}
	go func() { r.done(receiveResult(fd)) }()
}

// news is what the Set reports.
func (w *worker) news(n display.News) {
	v := w.keys[n.Key]
	if v == nil {
		return
	}
	switch n.What {
	case display.Opened:
		w.opened(v)
		if before := v.spec.Resume; before != "" && n.Token == "" && !sameServer(before, n.ServerPID) {
			w.set.Remove(v.key)
			w.ended(v, session.ReasonServerGone, "another display answers than before")
			break
		}
		v.begun, v.tries, v.refused, v.unreached = true, 0, 0, time.Time{}
		v.spec.Resume = resume(n)
		w.tell(v, Event{Kind: Opened, Resume: v.spec.Resume})
	case display.Failed:
		w.failed(v, n)
	case display.Ended:
		w.tell(v, Event{
			Kind: Ended, Reason: n.End.Reason, Noticed: short(n.End.Noticed, maxText), NoticedAfter: n.End.Took,
		})
	case display.Lives:
	}
	w.admit()
}

func (w *worker) ended(v *watch, why session.Reason, noticed string) {
	w.tell(v, Event{Kind: Ended, Reason: why, Noticed: short(noticed, maxText)})
}

// tell tells the daemon, or the next one if there is none now.
func (w *worker) tell(v *watch, e Event) {
	v.told = &e
	if w.daemon != nil && v.synced {
		w.daemon.send(message{Say: sayNews, Login: v.login, N: v.n, Event: &e}, none)
	}
}

// Of a display that was watched before, by a worker that is gone.
const (
	enoughRefusals = 3 // a server that is about to end may be halfway
	soon           = 100 * time.Millisecond
)

// failed: a display could not be opened. If it was watched before, that may be
// its end; otherwise it is tried again.
func (w *worker) failed(v *watch, n display.News) {
	w.opened(v)
	pause := min(firstRetry<<min(v.tries, 10), lastRetry)
	v.tries++
	if v.spec.Resume != "" {
		if w.over(v, n) {
			return
		}
		if v.refused > 0 {
			pause = soon
		} else if !v.unreached.IsZero() {
			pause = firstRetry
		}
	}
	if text := short(n.Err.Error(), maxText); v.told == nil || v.told.Kind != Failed || v.told.Err != text {
		w.tell(v, Event{Kind: Failed, Err: text})
	}
	v.retry = time.AfterFunc(pause, func() {
		w.do(func() {
			w.waiting = append(w.waiting, v)
			w.admit()
		})
	})
}

// over decides whether a display that was watched before has ended since.
func (w *worker) over(v *watch, n display.News) bool {
	switch n.Outcome {
	case display.OtherDisplay:
		w.ended(v, session.ReasonServerGone, "another display answers than before: "+n.Err.Error())
		return true
	case display.NobodyThere:
		v.unreached = time.Time{}
		if v.refused++; v.refused >= enoughRefusals {
			w.ended(v, session.ReasonServerGone, "nobody is there any more: "+n.Err.Error())
			return true
		}
	case display.NoRoute:
		v.refused = 0
		if v.unreached.IsZero() {
			v.unreached = time.Now()
		}
		if lost := lostAfter(v.spec); time.Since(v.unreached) >= lost {
			w.ended(v, session.ReasonLinkLost, "no connection for "+lost.String()+": "+n.Err.Error())
			return true
		}
	case display.Unable: // nothing has been learnt
	default:
		v.refused, v.unreached = 0, time.Time{}
	}
	return false
}

func lostAfter(s Spec) time.Duration {
	if s.LostAfter > 0 {
		return s.LostAfter
	}
	return display.DefaultLostAfter
}

// What tells a display from another one of its name, for another worker: its
// token, which may be any bytes, or where there is none who serves it.
const (
	byToken  = "token:"
	byServer = "server:"
)

func resume(n display.News) string {
	text := byToken + hex.EncodeToString([]byte(n.Token))
	if n.Token == "" {
		start, err := linux.Birth(n.ServerPID)
		if n.ServerPID == 0 || err != nil {
			return ""
		}
		text = byServer + strconv.Itoa(n.ServerPID) + ":" + strconv.FormatUint(start, 10)
	}
	if len(text) > maxResume {
		return ""
	}
	return text
}

func resumeToken(text string) string {
	digits, _ := strings.CutPrefix(text, byToken)
	token, err := hex.DecodeString(digits)
	if err != nil {
		return ""
	}
	return string(token)
}

// sameServer: the process of that number listens, and is the one of before, or
// has left its socket to a child.
func sameServer(before string, pid int) bool {
	text, ok := strings.CutPrefix(before, byServer)
	number, birth, _ := strings.Cut(text, ":")
	if !ok || number != strconv.Itoa(pid) {
		return false
	}
	start, err := linux.Birth(pid)
	if err != nil {
		return errors.Is(err, linux.ErrGone)
	}
	return birth == strconv.FormatUint(start, 10)
}
