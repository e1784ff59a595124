package watcher_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/display/displaytest"
)

func startCompositor(t *testing.T, f *fixture) *displaytest.Server {
	t.Helper()
	srv, err := displaytest.StartWayland(f.runtime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

const tellDisplay = `
{
	echo "display $XEXIT_DISPLAY"
	echo "reason $XEXIT_REASON"
	echo "client $XEXIT_CLIENT"
	echo end
} >$SAID
`

// told is what the program said, without what was recorded beside it.
func (f *fixture) told() (lines []string) {
	f.t.Helper()
	for len(lines) == 0 {
		for _, line := range f.lines() {
			if !strings.HasPrefix(line, "record ") && !strings.HasPrefix(line, "[") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// A session with both displays is watched on the Wayland side alone.
func TestWaylandSession(t *testing.T) {
	xwayland, touched := net.Listen("unix", filepath.Join(t.TempDir(), "X"))
	if touched != nil {
		t.Fatal(touched)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, touched = xwayland.Accept()
	}()
	f := newFixture(t, xwayland.Addr().String())
	srv := startCompositor(t, f)
	f.env = append(f.env, "WAYLAND_DISPLAY="+srv.Display())
	e := f.watch("--", f.script("program", tellDisplay))
	if e.Display != srv.Display() || !e.Wayland {
		t.Errorf("registered %+v", e)
	}
	if want := "[{WAYLAND_DISPLAY " + srv.Display() + "}]"; fmt.Sprint(e.Markers) != want {
		t.Errorf("markers %v, want %s", e.Markers, want)
	}
	if status, out := f.run("watch", "--", "true"); status != 0 || !strings.Contains(out, "watched already") {
		t.Errorf("a second one: status %d: %s", status, out)
	}
	srv.PullCable()
	if got := fmt.Sprint(f.told()); got != "[display "+srv.Display()+" reason server-gone client ]" {
		t.Errorf("%s", got)
	}
	f.leave(e)
	_ = xwayland.Close()
	<-over
	if touched == nil {
		t.Error("there was a connection to the X server")
	}
}

func TestExplicitDisplay(t *testing.T) {
	x := startX(t)
	f := newFixture(t, ":4711")
	srv := startCompositor(t, f)
	f.env = append(f.env, "WAYLAND_DISPLAY=wayland-0")
	e := f.watch("--display", x.display, "--", f.script("program", tellDisplay))
	if e.Display != x.display || e.Wayland || fmt.Sprint(e.Markers) != "[{DISPLAY "+x.display+"}]" {
		t.Errorf("registered %+v", e)
	}
	x.kill()
	if got := fmt.Sprint(f.told()); got != "[display "+x.display+" reason server-gone client ]" {
		t.Errorf("%s", got)
	}
	f.leave(e)
	e = f.watch("--wayland-display", srv.Display(), "--", f.script("program", tellDisplay))
	if e.Display != srv.Display() || !e.Wayland {
		t.Errorf("registered %+v", e)
	}
	for _, args := range [][]string{
		{"watch", "--display", ":1", "--wayland-display", "wayland-0"},
		{"watch", "--display", ""},
		{"session", "--no-display", "--display", ":1", "true"},
	} {
		if status, out := f.run(args...); status != 2 {
			t.Errorf("%v: status %d: %s", args, status, out)
		}
	}
}

// What a user unit does at logout: TERM to the watcher alone, which may be
// about to run the program or at it. The program is run, once, to its end.
func TestWaylandWatcherStoppedAtLogout(t *testing.T) {
	f := newFixture(t, "")
	srv := startCompositor(t, f)
	f.env = append(f.env, "WAYLAND_DISPLAY=wayland-0")
	e := f.watch("--", f.script("program", `
echo begun >$SAID
read -r go <$SAID.go
echo done >$SAID
`))
	if err := syscall.Mkfifo(f.fifo+".go", 0o600); err != nil {
		t.Fatal(err)
	}
	srv.PullCable()
	if got := f.line(); !strings.HasPrefix(got, "begun") && !strings.HasPrefix(got, "record") {
		t.Fatal(got)
	}
	f.signal(e, syscall.SIGTERM)
	if err := os.WriteFile(f.fifo+".go", []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line := f.line(); line != "done"; line = f.line() {
		t.Log(line)
	}
	f.leave(e)
}
