package linux

import (
	"fmt"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket names its connection; the kernel knows the other end by the same
// name reversed, and how much of what was sent is not read there.
func TestOwnFlow(t *testing.T) {
	for _, c := range []struct {
		listen string
		ip     []byte
	}{
		{"127.0.0.1:0", []byte{127, 0, 0, 1}},
		{"[::1]:0", net.IPv6loopback},
		{"[::]:0", []byte{127, 0, 0, 1}},
	} {
		t.Run(c.listen, func(t *testing.T) {
			l, err := net.Listen("tcp", c.listen)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s, _, err := DialTCP(c.ip, 0, uint16(l.Addr().(*net.TCPAddr).Port))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			f, err := s.Flow()
			if err != nil || fmt.Sprint(f.Reversed().Reversed()) != fmt.Sprint(f) {
				t.Fatalf("%+v, %v", f, err)
			}
			for want := range 3 {
				if info, err := LookFlow(f.Reversed()); err != nil || !info.Established || info.Unread != uint32(want) {
					t.Errorf("%+v, %v; %d bytes were sent", info, err, want)
				}
				if info, err := LookFlow(f); err != nil || info.Unread != 0 {
					t.Errorf("our own end: %+v, %v", info, err)
				}
				if _, err := s.Write([]byte{1}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.ReadFull(far, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			if info, err := LookFlow(f.Reversed()); err != nil || info.Unread != 0 {
				t.Errorf("all was read: %+v, %v", info, err)
			}
		})
	}
	u, err := newSocket(unix.AF_UNIX)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if f, err := u.Flow(); err == nil {
		t.Errorf("%+v", f)
	}
}
