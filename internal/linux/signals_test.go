package linux_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
)

func TestSignals(t *testing.T) {
	ours := []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2}
	got := make(chan os.Signal, 1)
	if err := linux.Signals(got, ours...); err != nil {
		t.Fatal(err)
	}
	self, err := linux.OpenPidFD(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = self.Close() }()
	send := func(sig syscall.Signal) {
		if err := self.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	next := func() os.Signal {
		select {
		case sig := <-got:
			return sig
		case <-time.After(60 * time.Second):
			t.Fatal("hang guard: no signal came")
		}
		return nil
	}

	for _, sig := range ours {
		send(sig)
		if came := next(); came != sig {
			t.Errorf("sent %v, %v came", sig, came)
		}
	}

	// In any state of the runtime: with threads that compute, grow their stacks,
	// collect garbage and are interrupted by the runtime's own signals.
	stop := make(chan struct{})
	for range 2 * runtime.GOMAXPROCS(0) {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = deep(200)
				}
			}
		}()
	}
	for i := range 2000 {
		send(ours[i%2])
	}
	close(stop)
	next()
	for len(got) > 0 { // what found no room was dropped
		next()
	}

	// A program that is started has the default of each.
	text, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); key == "SigCgt" && strings.TrimSpace(value) != strings.Repeat("0", 16) {
			t.Errorf("a program starts with %s", line)
		}
	}
}

// deep needs much stack, and leaves garbage.
func deep(n int) []byte {
	if n == 0 {
		return make([]byte, 4096)
	}
	var room [256]byte
	room[n] = byte(n)
	return append(deep(n-1), room[n])
}
