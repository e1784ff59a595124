package linux

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected is both ends of a connection over loopback.
func connected(t *testing.T, listen, dial string) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c, err := net.Dial("tcp", net.JoinHostPort(dial, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a.(*net.TCPConn), c.(*net.TCPConn)
}

func flow(c *net.TCPConn) Flow {
	local, remote := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	bytes := func(ip net.IP) []byte {
		if v4 := ip.To4(); v4 != nil {
			return v4
		}
		return ip
	}
	return Flow{
		Local: bytes(local.IP), LocalPort: uint16(local.Port),
		Remote: bytes(remote.IP), RemotePort: uint16(remote.Port),
	}
}

func TestLookFlow(t *testing.T) {
	for _, c := range []struct{ name, listen, dial string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
		{"IPv4 on an IPv6 socket", "[::]:0", "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := connected(t, c.listen, c.dial)
			f := flow(near)
			before, err := LookFlow(f)
			if err != nil || !before.Established || before.Inode == 0 || before.UID != uint32(os.Geteuid()) || before.Received != 0 {
				t.Fatalf("%+v, %v", before, err)
			}
			if _, err := far.Write(make([]byte, 1234)); err != nil {
				t.Fatal(err)
			}
			if unread, err := LookFlow(f); err != nil || unread.Unread != 1234 {
				t.Errorf("%+v, %v", unread, err)
			}
			if _, err := near.Read(make([]byte, 2000)); err != nil {
				t.Fatal(err)
			}
			after, err := LookFlow(f)
			if err != nil || after.Received != 1234 || after.Unread != 0 || after.Inode != before.Inode || after.Unacked != 0 {
				t.Errorf("%+v, %v", after, err)
			}
			if mapped := (Flow{
				Local: net.IP(f.Local).To16(), LocalPort: f.LocalPort, Remote: net.IP(f.Remote).To16(), RemotePort: f.RemotePort,
			}); len(f.Local) == 4 {
				if again, err := LookFlow(mapped); err != nil || again.Inode != before.Inode {
					t.Errorf("mapped: %+v, %v", again, err)
				}
			}
			// The other end closes: it stands no more.
			_ = far.Close()
			if _, err := near.Read(make([]byte, 1)); err == nil {
				t.Fatal("not closed")
			}
			if closed, err := LookFlow(f); err != nil || closed.Established {
				t.Errorf("%+v, %v", closed, err)
			}
			_ = near.Close()
			if gone, err := LookFlow(f); err == nil && gone.Established || err != nil && !errors.Is(err, ErrNoFlow) {
				t.Errorf("%+v, %v", gone, err)
			}
		})
	}
}

// What one process sets on its connection, another one can read.
func TestFlowClass(t *testing.T) {
	for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback} {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s, _, err := DialTCP(ip, 0, uint16(l.Addr().(*net.TCPAddr).Port))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		far, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		f, err := s.Flow()
		if err != nil {
			t.Fatal(err)
		}
		for _, class := range []uint8{0, 0x5c} {
			if err := s.SetClass(class); err != nil {
				t.Fatal(err)
			}
			if info, err := LookFlow(f); err != nil || !info.Established || info.Class != class {
				t.Errorf("%s: %+v, %v; want class %#x", ip, info, err, class)
			}
		}
	}
}

// No connection, although somebody listens there: the kernel names the listener
// then.
func TestLookFlowNone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := Flow{
		Local: []byte{127, 0, 0, 1}, LocalPort: uint16(l.Addr().(*net.TCPAddr).Port),
		Remote: []byte{127, 0, 0, 1}, RemotePort: 1,
	}
	if info, err := LookFlow(f); !errors.Is(err, ErrNoFlow) {
		t.Errorf("%+v, %v", info, err)
	}
	f.LocalPort = 2
	if info, err := LookFlow(f); !errors.Is(err, ErrNoFlow) {
		t.Errorf("%+v, %v", info, err)
	}
	f.Remote = net.IPv6loopback
	if info, err := LookFlow(f); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err := LookFlow(Flow{}); !errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Errorf("%+v, %v", info, err)
	}
}

// answer builds what the kernel says of f.
func answer(f Flow, state byte, attributes ...[]byte) []byte {
	id, family, _ := f.id()
	ne := binary.NativeEndian
	b := make([]byte, diagAnswer)
	ne.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	b[nlHeader], b[nlHeader+1], b[nlHeader+2] = family, state, timerRetrans
	copy(b[nlHeader+4:], id[:])
	rest := b[nlHeader+4+diagID:]
	ne.PutUint32(rest, 1500)
	ne.PutUint32(rest[4:], 33)
	ne.PutUint32(rest[8:], 44) // not sent, or not acknowledged
	ne.PutUint32(rest[12:], 1000)
	ne.PutUint32(rest[16:], 4711)
	for _, a := range attributes {
		b = append(b, a...)
	}
	ne.PutUint32(b, uint32(len(b)))
	return b
}

func attribute(kind uint16, value []byte) []byte {
	b := make([]byte, (4+len(value)+3)&^3)
	binary.NativeEndian.PutUint16(b, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	copy(b[4:], value)
	return b
}

var someFlow = Flow{Local: []byte{10, 0, 0, 1}, LocalPort: 22, Remote: []byte{10, 0, 0, 2}, RemotePort: 40000}

func TestParseFlow(t *testing.T) {
	old := make([]byte, 104) // tcp_info as it was before kernel 4.1
	old[2] = 5               // retransmits
	info, err := someFlow.parse(answer(someFlow, tcpEstablish, attribute(9, []byte{1}), attribute(diagInfo, old)))
	want := FlowInfo{Established: true, Inode: 4711, UID: 1000, Unread: 33, Next: 1500 * time.Millisecond}
	want.Retransmits = 5
	if err != nil || info != want {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err := someFlow.parse(answer(someFlow, tcpEstablish)); err != nil || info.Established || info.Unread != 0 {
		t.Errorf("without tcp_info: %+v, %v", info, err)
	}
	other := someFlow
	other.RemotePort++
	if _, err := someFlow.parse(answer(other, tcpEstablish)); !errors.Is(err, ErrNoFlow) {
		t.Errorf("another connection: %v", err)
	}
	refused := make([]byte, 36)
	binary.NativeEndian.PutUint32(refused, 36)
	binary.NativeEndian.PutUint16(refused[4:], unix.NLMSG_ERROR)
	binary.NativeEndian.PutUint32(refused[16:], ^uint32(syscall.EPERM)+1)
	if _, err := someFlow.parse(refused); !errors.Is(err, syscall.EPERM) {
		t.Errorf("refused: %v", err)
	}
	bad := attribute(diagInfo, old)
	bad[0] = 255
	for name, b := range map[string][]byte{
		"empty":        nil,
		"short":        answer(someFlow, 1)[:diagAnswer-1],
		"too long":     {255, 255, 255, 127, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"no length":    make([]byte, 64),
		"bad attribut": answer(someFlow, 1, bad),
	} {
		if info, err := someFlow.parse(b); !errors.Is(err, errDiagAnswer) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

// Whatever the kernel says, reading it is bounded and does not crash.
func FuzzFlow(f *testing.F) {
	f.Add(answer(someFlow, tcpEstablish, attribute(diagInfo, make([]byte, 248))))
	f.Add(answer(someFlow, 6))
	f.Add(make([]byte, 36))
	f.Fuzz(func(t *testing.T, b []byte) {
		if info, err := someFlow.parse(b); err != nil && info.Established {
			t.Errorf("%+v, %v", info, err)
		}
	})
}
