package display

import (
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"xexit/internal/display/displaytest"
	"xexit/internal/session"
)

const socketTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:177A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1
   1: 0100007F:A001 0100007F:177A 01 00000000:00000000 00:00000000 00000000  1000        0 101 1
   2: 0100007F:177A 0100007F:A001 01 00000000:00000000 00:00000000 00000000     0        0 102 1
   3: 0100007F:A002 0100007F:177A 06 00000000:00000000 00:00000000 00000000     0        0 0 1
   4: 0100007F:A003 0100007F:177B 01 00000000:00000000 00:00000000 00000000  1000        0 103 1
   5: 0A00000A:A004 0A00000B:177A 01 00000000:00000000 00:00000000 00000000  1000        0 104 1
   6: 0100007F:00FF 0100007F:177A 01 00000000:00000000 00:00000000 00000000  1000        0 105 1
   7: cut
`

func TestConnectedTo(t *testing.T) {
	t.Parallel()
	peer := socketName([]byte{127, 0, 0, 1}, 6010)
	for name, table := range map[string]io.Reader{
		"at once": strings.NewReader(socketTable), "byte by byte": iotest.OneByteReader(strings.NewReader(socketTable)),
	} {
		var ports []uint16
		err := connectedTo(table, make([]byte, 160), peer, func(port uint16) { ports = append(ports, port) })
		if err != nil || !slices.Equal(ports, []uint16{0xa001, 0xff}) {
			t.Errorf("%s: %x, %v", name, ports, err)
		}
	}
	none := func(uint16) { t.Error("a connection out of nothing") }
	if err := connectedTo(strings.NewReader(strings.Repeat("x", 99)), make([]byte, 64), peer, none); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("an endless line: %v", err)
	}
	if err := connectedTo(iotest.ErrReader(io.ErrUnexpectedEOF), make([]byte, 64), peer, none); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken table: %v", err)
	}
}

func TestSocketName(t *testing.T) {
	t.Parallel()
	loopback6 := net.IPv6loopback
	for want, got := range map[string]string{
		"0100007F:177A":                         socketName([]byte{127, 0, 0, 1}, 6010),
		"00000000000000000000000001000000:1770": socketName(loopback6, 6000),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A logout from a forwarded display: whoever else is on the terminal's server
// does not count, and that it does not tell who is does no harm either. Nor
// does another watcher count, whose session goes on.
func TestLogoutFromForwarded(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		for _, blind := range []bool{false, true} {
			logoutFrom(t, address, address, blind)
		}
	}
	// localhost may mean one address to the watcher and another to a program.
	logoutFrom(t, "127.0.0.1", "::1", true)
	logoutFrom(t, "::1", "127.0.0.1", true)
}

func logoutFrom(t *testing.T, ours, programs string, blind bool) {
	t.Helper()
	srv, err := displaytest.StartTCP(net.JoinHostPort(ours, "0"), displaytest.Options{NoXRes: blind})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	number, err := strconv.Atoi(srv.Display()[strings.LastIndexByte(srv.Display(), ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(programs, strconv.Itoa(6000+number))
	if programs != ours {
		other, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
	}
	leader, exit := child(t)
	o := quick(srv)
	o.LeaderPidFD = leader.FD()
	another := start(t, quick(srv))
	w := start(t, o)
	program, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	exit()
	const opGetProperty = 20
	before := srv.Requests(opGetProperty)
	waitFor(t, func() bool { return srv.Requests(opGetProperty) > before+20 })
	w.alive() // a program of the session is there
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
	if e := w.over(session.ReasonLogout); !strings.Contains(e.Noticed, "leader") {
		t.Errorf("%s, %s: %+v", ours, programs, e)
	}
	another.alive()
}
