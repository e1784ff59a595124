package display

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/display/x11"
	"xexit/internal/session"
)

// Whatever the server sends, the watcher does not crash, and it comes to an
// end that says what it saw.
func TestHostileServer(t *testing.T) {
	for _, mode := range []displaytest.Mode{displaytest.Garbage, displaytest.Truncate} {
		srv := fake(t, displaytest.Options{})
		w := start(t, quick(srv))
		srv.SetMode(mode)
		e := w.over(session.ReasonServerGone)
		t.Log(e.Noticed)
	}
}

func TestSlowServer(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, quick(srv))
	srv.SetMode(displaytest.Slow)
	const opGetProperty = 20
	before := srv.Requests(opGetProperty)
	waitFor(t, func() bool { return srv.Requests(opGetProperty) > before+10 })
	w.alive()
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

func TestEndlessServer(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, quick(srv))
	srv.SetMode(displaytest.Endless)
	waitFor(t, func() bool { return srv.Flooded() > 2<<20 })
	w.alive()
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	secret := []byte("0123456789abcdef")
	guarded := fake(t, displaytest.Options{Cookie: secret})
	full := fake(t, displaytest.Options{})
	full.SetRefusal("Maximum number of clients reached")
	odd := fake(t, displaytest.Options{})
	odd.SetRefusal("Protocol version mismatch")
	garbage := fake(t, displaytest.Options{})
	garbage.SetMode(displaytest.Garbage)
	wrong := filepath.Join(dir, "wrong")
	writeCookie(t, wrong, []byte("fedcba9876543210"))
	right := filepath.Join(dir, "right")
	writeCookie(t, right, secret)
	fifo := filepath.Join(dir, "fifo")
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	for _, c := range []struct {
		name string
		o    Options
		kind Refusal // 0: may pass
		text string
	}{
		{"no display", Options{}, NoDisplay, "DISPLAY"},
		{"bad name", Options{Name: "nonsense"}, BadName, "nonsense"},
		{"nobody there", Options{Name: filepath.Join(dir, "none")}, 0, "no such file"},
		{"full", Options{Name: full.Display()}, 0, "aximum number of clients"},
		{"odd", Options{Name: odd.Display()}, NotLetIn, "version mismatch"},
		{"garbage", Options{Name: garbage.Display()}, 0, "not the X11 protocol"},
		{"no cookie", Options{Name: guarded.Display(), Home: dir}, AuthFailed, "Authorization required"},
		{"wrong cookie", Options{Name: guarded.Display(), Authority: wrong}, AuthFailed, "Invalid MIT-MAGIC-COOKIE-1"},
		{"missing file", Options{Name: guarded.Display(), Authority: filepath.Join(dir, "none")}, AuthorityUnreadable, "none"},
		{"a directory", Options{Name: guarded.Display(), Authority: dir}, AuthorityUnreadable, "regular"},
		{"a pipe", Options{Name: guarded.Display(), Authority: fifo}, AuthorityUnreadable, "regular"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := Open(t.Context(), c.o)
			if err == nil {
				t.Fatal("opened", w.Close())
			}
			var refused *RefusedError
			if !strings.Contains(err.Error(), c.text) || errors.As(err, &refused) != (c.kind != 0) {
				t.Fatalf("%v", err)
			}
			if refused != nil && (refused.Kind != c.kind || refused.Remedy == "") {
				t.Errorf("%+v", refused)
			}
		})
	}
	w, _ := open(t, Options{Name: guarded.Display(), Authority: right})
	if w.target.cur == nil {
		t.Error("not connected with the right cookie")
	}
	// Who is let in without a cookie needs no file.
	lax := fake(t, displaytest.Options{})
	open(t, Options{Name: lax.Display(), Authority: filepath.Join(dir, "none")})
}

func TestOpenIsBounded(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	srv.SetMode(displaytest.Frozen)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if w, err := Open(ctx, Options{Name: srv.Display()}); !errors.Is(err, ErrStalled) {
		t.Errorf("%v, %v", w, err)
	}
}

// writeCookie files a cookie for every display.
func writeCookie(t *testing.T, path string, cookie []byte) {
	t.Helper()
	entry := []byte{0xff, 0xff, 0, 0, 0, 0, 0, byte(len(x11.CookieProtocol))}
	entry = append(entry, x11.CookieProtocol...)
	entry = append(entry, 0, byte(len(cookie)))
	entry = append(entry, cookie...)
	if err := os.WriteFile(path, entry, 0o600); err != nil {
		t.Fatal(err)
	}
}
