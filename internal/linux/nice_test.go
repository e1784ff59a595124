package linux

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWithNice(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := func() int {
		raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		if err != nil {
			t.Fatal(err)
		}
		return 20 - raw
	}
	before := now()
	group, grouped := autogroupNice()
	want := before + 1 // anybody may be nicer, though only root comes back from it
	if os.Geteuid() == 0 {
		want = -20
	}
	called := false
	WithNice(want, func() {
		called = true
		if got := now(); got != want {
			t.Errorf("nice %d, want %d", got, want)
		}
		if got, ok := autogroupNice(); ok && grouped && os.Geteuid() == 0 && got != want {
			t.Errorf("nice %d of the group, want %d", got, want)
		}
	})
	if !called {
		t.Fatal("not called")
	}
	if os.Geteuid() == 0 && now() != before {
		t.Errorf("nice %d afterwards, want %d", now(), before)
	}
	if got, ok := autogroupNice(); ok && got != group {
		t.Errorf("nice %d of the group afterwards, want %d", got, group)
	}
}
