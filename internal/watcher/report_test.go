package watcher

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xexit/internal/display"
	"xexit/internal/session"
)

func TestPrintable(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"plain ü", "plain ü"},
		{"one\ntwo\n", "one; two"},
		{errors.Join(errors.New("a"), errors.New("b")).Error(), "a; b"},
		{"\x1b[2J\r\x7f\u009b", "?[2J???"},
	} {
		if got := printable(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// A server that is not there yet is said to be so once, and again only for
// another reason.
func TestTryingAgainIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		tries, words := 0, 0
		r := &resident{patience: openPatience, leaderFD: -1, word: func(string, string) bool { words++; return true }}
		r.entry.ID = session.ID("aaaaaaaa-0000-4000-8000-000000000001")
		r.report = reporter{socket: "/nowhere", stderr: &said, now: time.Now}
		why := []error{errNobody, errNobody, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, errNobody}
		r.open = func(context.Context, display.Options) (watch, error) {
			tries++
			if tries == 8 {
				w := &fakeWatch{gone: make(chan outcome, 1)}
				w.gone <- outcome{err: errNobody} // while watching: news, since it was open
				return w, nil
			}
			return nil, why[min(tries, len(why))-1]
		}
		if _, err := r.watch(t.Context()); !errors.Is(err, errNobody) {
			t.Error(err)
		}
		if n := strings.Count(said.String(), "trying again"); n != 4 || tries < 30 {
			t.Errorf("said %d times in %d tries, want 4:\n%s", n, tries, said.String())
		}
		if words != 5 { // and one for the opening
			t.Errorf("%d words", words)
		}
	})
}

// What is written to the log is rounded to what a reader can use.
func TestNoticedAfterIsRounded(t *testing.T) {
	var said bytes.Buffer
	r := &resident{}
	r.report = reporter{socket: "/nowhere", stderr: &said, now: time.Now}
	r.sayOver(display.End{Reason: session.ReasonServerGone, Noticed: "hangup", Took: 3653905 * time.Nanosecond}, nil, syscall.ENOENT)
	if !strings.Contains(said.String(), "noticed after 3.7ms)") {
		t.Error(said.String())
	}
}
