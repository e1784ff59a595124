package linux

import (
	"math"
	"os"
	"syscall"
	"testing"
	"time"
)

// hang is how long a test waits for what must happen at once.
const hang = 60 * time.Second

func newTestEpoll(t *testing.T) (*Epoll, *EventFD) {
	t.Helper()
	epoll, err := NewEpoll()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { epoll.Close() })
	event, err := NewEventFD()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { event.Close() })
	return epoll, event
}

// waitReady waits until something is ready: a signal may end one Wait early.
func waitReady(t *testing.T, epoll *Epoll) []EpollReady {
	t.Helper()
	for deadline := time.Now().Add(hang); time.Now().Before(deadline); {
		ready, err := epoll.Wait(time.Until(deadline))
		if err != nil {
			t.Fatal(err)
		}
		if len(ready) > 0 {
			return ready
		}
	}
	t.Fatal("nothing is ready")
	return nil
}

func TestEpollKeys(t *testing.T) {
	for _, key := range []uint64{0, 1, math.MaxUint32, 1 << 32, 0x8000000080000000, math.MaxUint64} {
		epoll, event := newTestEpoll(t)
		if err := epoll.Add(event.FD(), EpollIn, key); err != nil {
			t.Fatal(err)
		}
		if ready, err := epoll.Wait(0); err != nil || len(ready) > 0 {
			t.Fatalf("%v %v, want nothing yet", ready, err)
		}
		if err := event.Set(); err != nil {
			t.Fatal(err)
		}
		if ready := waitReady(t, epoll); len(ready) != 1 || ready[0] != (EpollReady{Key: key, In: true}) {
			t.Errorf("key %x: %v", key, ready)
		}
	}
}

func TestEpollOneShot(t *testing.T) {
	epoll, event := newTestEpoll(t)
	if err := epoll.Add(event.FD(), EpollIn|EpollOneShot, 7); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := event.Set(); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int{1, 0} {
		if ready, err := epoll.Wait(0); err != nil || len(ready) != want {
			t.Errorf("wait %d: %v %v, want %d", i, ready, err, want)
		}
	}
	if err := epoll.Change(event.FD(), EpollIn, 8); err != nil {
		t.Fatal(err)
	}
	if ready, err := epoll.Wait(0); err != nil || len(ready) != 1 || ready[0].Key != 8 {
		t.Errorf("%v %v after Change", ready, err)
	}
	if err := epoll.Remove(event.FD()); err != nil {
		t.Fatal(err)
	}
	if ready, err := epoll.Wait(0); err != nil || len(ready) > 0 {
		t.Errorf("%v %v after Remove", ready, err)
	}
}

// A process's death is seen through its pidfd, and a signal through it.
func TestEpollPidFD(t *testing.T) {
	child, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := OpenPidFD(child.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer pidfd.Close()
	epoll, _ := newTestEpoll(t)
	if err := epoll.Add(pidfd.FD(), EpollIn|EpollOneShot, 1); err != nil {
		t.Fatal(err)
	}
	if ready, err := epoll.Wait(0); err != nil || len(ready) > 0 {
		t.Errorf("%v %v, want it to be alive", ready, err)
	}
	if err := pidfd.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitReady(t, epoll)
	if state, err := child.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("%v %v", state, err)
	}
}
