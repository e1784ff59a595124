package display

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"xexit/internal/linux"
)

// Who is on a display that sshd forwards? Its server cannot tell: it is the
// terminal's, and counts the programs of the terminal's own desktop, or nobody
// at all for an untrusted client (ssh -X). But each program of the session has
// a connection of its own to sshd on this machine, and the kernel lists those.
//
//	program ──┐
//	program ──┼── localhost:6010, sshd ══ ssh ── X server ── the terminal's own programs
//	watcher ──┘
//
// Watchers know each other by the traffic class of their connections, which
// matters to nobody on a loopback interface.

// watcherClass is a code point of the experimental ones (RFC 2474, pool 2):
// what a program would not choose.
const watcherClass = 0x17 << 2

// forwarded counts the connections to the port at which sshd takes clients of
// this display, less those of watchers. sshd listens on both loopback addresses,
// and a program may have chosen the other one than we did.
func (x *x11Protocol) forwarded() error {
	own, err := x.client.sock.Flow()
	if err != nil {
		return nil // another time
	}
	o := Observation{Kind: Clients}
	for _, there := range loopbacks {
		ours := bytes.Equal(there.ip, x.client.addr.ip)
		err := x.connected(there.table, there.ip, func(port uint16) {
			if ours && port == own.LocalPort || o.Others < maxResident && x.isWatcher(there.ip, port) {
				return
			}
			if o.Others < maxResident {
				o.Resident[o.Others] = uint64(len(there.ip))<<16 | uint64(port)
			}
			o.Others++
		})
		// A kernel without IPv6 has nobody there.
		if err != nil && (ours || !errors.Is(err, fs.ErrNotExist)) {
			return nil
		}
	}
	return x.client.tell(o)
}

// isWatcher reports whether the connection from port at ip is a watcher's.
// Where the kernel does not tell, it is a program's.
func (x *x11Protocol) isWatcher(ip []byte, port uint16) bool {
	info, err := linux.LookFlow(linux.Flow{Local: ip, LocalPort: port, Remote: ip, RemotePort: x.client.addr.port})
	return err == nil && info.Class == watcherClass
}

// loopbacks are what localhost may mean. An IPv6 socket may hold a connection of
// IPv4, which is in its table then.
var loopbacks = [...]struct {
	table string
	ip    []byte
}{
	{"/proc/net/tcp", []byte{127, 0, 0, 1}},
	{"/proc/net/tcp6", []byte{15: 1}},
	{"/proc/net/tcp6", []byte{10: 255, 11: 255, 12: 127, 15: 1}},
}

// connected visits the local port of every connection to the display at ip.
func (x *x11Protocol) connected(table string, ip []byte, visit func(port uint16)) error {
	f, err := os.Open(table)
	if err != nil {
		return err
	}
	defer f.Close()
	return connectedTo(f, make([]byte, 2048), socketName(ip, x.client.addr.port), visit)
}

// socketName spells an address as /proc/net/tcp does: words of the machine's
// byte order, most significant digit first (proc(5)).
func socketName(ip []byte, port uint16) string {
	var b []byte
	for word := ip; len(word) >= 4; word = word[4:] {
		b = binary.BigEndian.AppendUint32(b, binary.NativeEndian.Uint32(word))
	}
	return strings.ToUpper(hex.EncodeToString(b) + ":" + hex.EncodeToString([]byte{byte(port >> 8), byte(port)}))
}

// connectedTo reads a table in the form of /proc/net/tcp and visits the local
// port of every established connection to peer. buffer bounds a line.
func connectedTo(table io.Reader, buffer []byte, peer string, visit func(port uint16)) error {
	rest := 0
	for {
		n, err := table.Read(buffer[rest:])
		lines := buffer[:rest+n]
		for {
			line, after, whole := bytes.Cut(lines, []byte("\n"))
			if !whole {
				break
			}
			if port, ok := establishedTo(line, peer); ok {
				visit(port)
			}
			lines = after
		}
		rest = copy(buffer, lines)
		if err == io.EOF {
			return nil
		}
		if err == nil && rest == len(buffer) {
			err = io.ErrShortBuffer
		}
		if err != nil {
			return err
		}
	}
}

// establishedTo reads a line: "  7: 0100007F:A1B2 0100007F:177A 01 …".
func establishedTo(line []byte, peer string) (local uint16, ok bool) {
	const established = "01"
	f := bytes.Fields(line)
	if len(f) < 4 || string(f[2]) != peer || string(f[3]) != established {
		return 0, false
	}
	_, port, _ := bytes.Cut(f[1], []byte(":"))
	var b [2]byte
	if n, err := hex.Decode(b[:], port); err != nil || n != 2 {
		return 0, false
	}
	return uint16(b[0])<<8 | uint16(b[1]), true
}
