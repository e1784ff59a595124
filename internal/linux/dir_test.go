package linux

import (
	"syscall"
	"testing"
)

// TestReadAtOnce: it reads what ReadFile does, and fails as it does.
func TestReadAtOnce(t *testing.T) {
	dir, err := OpenDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	one, two := make([]byte, 4096), make([]byte, 4096)
	for _, name := range []string{"self/sessionid\x00", "version\x00", "self/comm\x00"} {
		n, errno := dir.ReadFile([]byte(name), one)
		m, again := dir.ReadAtOnce([]byte(name), two)
		if string(one[:n]) != string(two[:m]) || errno != again || n == 0 && errno == 0 {
			t.Errorf("%q: %q, %v; at once %q, %v", name, one[:n], errno, two[:m], again)
		}
	}
	if _, errno := dir.ReadAtOnce([]byte("0/stat\x00"), one); errno != syscall.ENOENT {
		t.Errorf("a process that cannot be: %v, want ENOENT", errno)
	}
	if _, errno := dir.ReadAtOnce([]byte("self\x00"), one); errno != syscall.EISDIR {
		t.Errorf("a directory: %v, want EISDIR", errno)
	}
	// Nothing stays open, whatever became of the read: the lowest number is given.
	fd, errno := dir.OpenRead([]byte("version\x00"))
	if errno != 0 {
		t.Fatal(errno)
	}
	CloseFD(fd)
	for range 100 {
		_, _ = dir.ReadAtOnce([]byte("self\x00"), one)
		_, _ = dir.ReadAtOnce([]byte("version\x00"), one)
	}
	again, errno := dir.OpenRead([]byte("version\x00"))
	if errno != 0 || again > fd+20 {
		t.Errorf("descriptor %d before, %d after 200 reads: %v", fd, again, errno)
	}
	CloseFD(again)
}
