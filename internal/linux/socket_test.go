package linux_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
)

// until reads from a non-blocking socket until there is something.
func until(t *testing.T, s *linux.Socket, p []byte) (int, error) {
	t.Helper()
	fds := []linux.PollFD{{FD: s.FD()}}
	if err := linux.Poll(fds, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	return s.Read(p)
}

func TestUnixSocket(t *testing.T) {
	for _, name := range []string{
		filepath.Join(t.TempDir(), "s"),
		fmt.Sprintf("@xexit-test-%d", os.Getpid()),
	} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := linux.DialUnix(name)
		if err != nil {
			t.Fatal(err)
		}
		if pid, err := s.PeerPID(); err != nil || pid != os.Getpid() {
			t.Errorf("peer %d, %v", pid, err)
		}
		if n, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.EAGAIN) {
			t.Errorf("read %d, %v with nothing there", n, err)
		}
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.Write([]byte("hello")); n != 5 || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		var word [5]byte
		if _, err := io.ReadFull(peer, word[:]); err != nil || string(word[:]) != "hello" {
			t.Errorf("%q, %v", word, err)
		}
		_ = peer.Close()
		if n, err := until(t, s, word[:]); err != io.EOF {
			t.Errorf("read %d, %v after the end", n, err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("wrote after the end: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = l.Close()
		if s, err := linux.DialUnix(name); err == nil || s != nil {
			t.Error("connected to nobody")
		}
	}
}

// Who does not accept fills its queue, and a connect says so at once.
func TestUnixQueueFull(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: name}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s, err := linux.DialUnix(name)
		if errors.Is(err, syscall.EAGAIN) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
	}
	t.Error("the queue has no end")
}

func TestTCPSocket(t *testing.T) {
	for _, c := range []struct {
		listen string
		ip     []byte
	}{{"127.0.0.1:0", []byte{127, 0, 0, 1}}, {"[::1]:0", []byte{15: 1}}} {
		l, err := net.Listen("tcp", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		s, _, err := linux.DialTCP(c.ip, 0, port)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Err(); err != nil {
			t.Error(err)
		}
		keep := linux.Keepalive{Idle: 2 * time.Second, Interval: time.Second / 2, Count: 30, GiveUp: time.Minute}
		if err := s.TuneTCP(keep); err != nil {
			t.Error(err)
		}
		for _, o := range []struct{ name, want int }{{syscall.TCP_KEEPIDLE, 2}, {syscall.TCP_KEEPINTVL, 1}, {18 /* TCP_USER_TIMEOUT */, 60000}} {
			if got, err := syscall.GetsockoptInt(s.FD(), syscall.IPPROTO_TCP, o.name); got != o.want || err != nil {
				t.Errorf("option %d is %d, %v; want %d", o.name, got, err, o.want)
			}
		}
		if here, err := s.ToItself(); err != nil || !here {
			t.Errorf("leads to this host: %v, %v", here, err)
		}
		if info, err := s.TCPInfo(); err != nil || info.Retransmits != 0 || info.Probes != 0 {
			t.Errorf("%+v, %v", info, err)
		}
		_ = l.Close()
		_ = peer.Close()
		if _, err := until(t, s, make([]byte, 1)); err != io.EOF {
			t.Errorf("read %v after the end", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		// Refused at once, or when it is asked for.
		s, pending, err := linux.DialTCP(c.ip, 0, port)
		if err == nil {
			fds := []linux.PollFD{{FD: s.FD()}}
			if err := linux.Poll(fds, 30*time.Second); err != nil || !pending {
				t.Fatal(err, pending)
			}
			err = s.Err()
			_ = s.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody there: %v", err)
		}
	}
	if _, _, err := linux.DialTCP([]byte{1}, 0, 1); err == nil {
		t.Error("an address of one byte is taken")
	}
}

func TestClocks(t *testing.T) {
	a, err := linux.Now()
	if err != nil {
		t.Fatal(err)
	}
	b, err := linux.Now()
	if err != nil || b.Monotonic < a.Monotonic || b.Boot < a.Boot || a.Boot < a.Monotonic {
		t.Errorf("%+v, %+v, %v", a, b, err)
	}
}

func TestRandom(t *testing.T) {
	var a, b [16]byte
	if err := errors.Join(linux.Random(a[:]), linux.Random(b[:])); err != nil || a == b {
		t.Errorf("%x, %x, %v", a, b, err)
	}
}

func TestReadable(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if now, err := linux.Readable(int(r.Fd())); now || err != nil {
		t.Errorf("%v, %v", now, err)
	}
	if _, err := w.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if now, err := linux.Readable(int(r.Fd())); !now || err != nil {
		t.Errorf("%v, %v", now, err)
	}
}
