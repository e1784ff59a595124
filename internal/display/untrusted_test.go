package display

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/session"
)

// untrusted starts an X server and returns it with the file of an untrusted
// cookie for it, such as ssh -X makes.
func untrusted(t *testing.T) (v *xvfb, authority string) {
	t.Helper()
	need(t, "xauth")
	dir := t.TempDir()
	owner := filepath.Join(dir, "owner")
	authority = filepath.Join(dir, "guest")
	xauth := func(file string, args ...string) {
		cmd := exec.Command("xauth", append([]string{"-i", "-f", file}, args...)...)
		cmd.Env = append(os.Environ(), "XAUTHORITY="+owner) // to ask the server for another cookie
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("xauth %v: %v: %s", args, err, out)
		}
	}
	const cookie = "00112233445566778899aabbccddeeff"
	xauth(owner, "add", ":0", ".", cookie) // the server takes every cookie of its file
	v = startXvfb(t, nil, "-auth", owner, "-noreset")
	xauth(owner, "add", v.name(), ".", cookie)
	xauth(authority, "generate", v.name(), ".", "untrusted", "timeout", "0")
	return v, authority
}

// An untrusted client may not write on the root window. It is watched all the
// same, and a reconnect knows the display again.
func TestXvfbUntrusted(t *testing.T) {
	v, authority := untrusted(t)
	o := Options{Name: v.name(), Authority: authority}
	w := start(t, o)
	token, err := openAs(t, o, "")
	if err != nil || !strings.HasPrefix(token, atomOwn) {
		t.Fatalf("the token is %q, %v: a property was written, or nothing", token, err)
	}
	if again, err := openAs(t, o, token); err != nil || again != token {
		t.Errorf("the same display: %q, %v", again, err)
	}
	if other, err := openAs(t, o, atomOwn+"of another server"); !errors.Is(err, errOther) {
		t.Errorf("another display: %q, %v", other, err)
	}
	w.alive()
	v.signal(syscall.SIGHUP) // a reset: a new generation
	w.over(session.ReasonServerGone)
	if other, err := openAs(t, o, token); err == nil {
		t.Errorf("the next generation knows %q", other)
	}
}

// openAs connects as if a display with that token had been open before.
func openAs(t *testing.T, o Options, before string) (token string, err error) {
	t.Helper()
	s, err := NewSet()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	w := &Watch{set: s}
	if w.target, err = s.add(ctx, only, o); err != nil {
		t.Fatal(err)
	}
	w.target.token = before
	n, err := w.next(ctx)
	return w.target.token, errors.Join(err, n.Err)
}
