package linux

import (
	"encoding/binary"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCountFlows(t *testing.T) {
	near, far := connected(t, "[::]:0", "127.0.0.1")
	port := uint16(near.LocalAddr().(*net.TCPAddr).Port)
	want := func(n int) {
		t.Helper()
		if got, err := CountFlows(port); got != n || err != nil {
			t.Errorf("%d connections, %v; want %d", got, err, n)
		}
	}
	want(1)
	if n, err := CountFlows(uint16(far.LocalAddr().(*net.TCPAddr).Port)); n != 1 || err != nil {
		t.Errorf("the same, seen from its other end: %d, %v", n, err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	want(0)
}

// More than one message of answers, both families.
func TestCountManyFlows(t *testing.T) {
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	_, service, _ := net.SplitHostPort(l.Addr().String())
	const many = 600
	for i := range many {
		c, err := net.Dial("tcp", net.JoinHostPort([]string{"127.0.0.1", "::1"}[i%2], service))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
	}
	if got, err := CountFlows(port); got != many || err != nil {
		t.Errorf("%d connections, %v; want %d", got, err, many)
	}
}

func TestCountAnswersMalformed(t *testing.T) {
	message := func(kind uint16, size int, body int) []byte {
		b := make([]byte, nlHeader+body)
		binary.NativeEndian.PutUint32(b, uint32(size))
		binary.NativeEndian.PutUint16(b[4:], kind)
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"half a header":   make([]byte, 7),
		"no length":       message(unix.SOCK_DIAG_BY_FAMILY, 0, 100),
		"too long":        message(unix.SOCK_DIAG_BY_FAMILY, 500, 100),
		"short answer":    message(unix.SOCK_DIAG_BY_FAMILY, nlHeader+20, 20),
		"error, no errno": message(unix.NLMSG_ERROR, nlHeader, 0),
	} {
		if n, done, err := countAnswers(b, 6010); err == nil || done || n != 0 {
			t.Errorf("%s: %d, %v, %v", name, n, done, err)
		}
	}
}
