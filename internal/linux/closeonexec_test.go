package linux

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCloseOnExecFrom(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	closes := func(fd int) bool {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			t.Fatal(err)
		}
		return flags&unix.FD_CLOEXEC != 0
	}
	// Far above those of the runtime and of other tests.
	var fds [3]int
	for i := range fds {
		if fds[i], err = unix.FcntlInt(file.Fd(), unix.F_DUPFD, 500+10*i); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[i])
	}
	if err := CloseOnExecFrom(fds[1]); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, true} {
		if closes(fds[i]) != want {
			t.Errorf("descriptor %d of %v is closed on exec: %v", fds[i], fds, !want)
		}
	}
}
