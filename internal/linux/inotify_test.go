package linux

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestInotify(t *testing.T) {
	t.Parallel()
	n, err := NewInotify()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "watched")
	if _, err := n.Watch(dir, InotifyNames); !errors.Is(err, syscall.ENOENT) {
		t.Fatalf("nothing is there: %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	id, err := n.Watch(dir, InotifyNames)
	if err != nil {
		t.Fatal(err)
	}
	// next is the next event that is not the same as the last.
	var queue []InotifyEvent
	next := func() InotifyEvent {
		t.Helper()
		if len(queue) == 0 {
			if queue, err = n.Read(); err != nil {
				t.Fatal(err)
			}
		}
		e := queue[0]
		queue = queue[1:]
		return e
	}
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "name-with-some-length")
	for _, step := range []struct {
		do   func() error
		name string
	}{
		{func() error { return os.Mkdir(a, 0o755) }, "a"},
		{func() error { return os.Rename(a, b) }, "a"},
		{func() error { return nil }, "name-with-some-length"},
		{func() error { return os.Remove(b) }, "name-with-some-length"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if e := next(); e != (InotifyEvent{Watch: id, Name: step.name}) {
			t.Errorf("%+v, want %s", e, step.name)
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if e := next(); !e.Gone || e.Watch != id {
		t.Errorf("%+v, want gone", e)
	}
	if err := n.Forget(id); err != nil {
		t.Error(err)
	}
	done := make(chan error, 1)
	go func() {
		for {
			if _, err := n.Read(); err != nil {
				done <- err
				return
			}
		}
	}()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v, want closed", err)
	}
}

func FuzzInotify(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00a\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, e := range parseInotify(raw) {
			if len(e.Name) > len(raw) {
				t.Fatal(e)
			}
		}
	})
}
