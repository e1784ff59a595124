package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flow names one TCP connection of this network namespace, whoever owns it.
type Flow struct {
	Local, Remote         []byte // 4 or 16 bytes, both alike
	LocalPort, RemotePort uint16
	Zone                  uint32 // interface index of link-local addresses
}

// Reversed names the connection as its other end does.
func (f Flow) Reversed() Flow {
	f.Local, f.Remote = f.Remote, f.Local
	f.LocalPort, f.RemotePort = f.RemotePort, f.LocalPort
	return f
}

// FlowInfo is what the kernel knows about a connection of another process.
type FlowInfo struct {
	TCPInfo
	Established bool
	Inode       uint32        // of its socket: another one with the same addresses is another connection
	UID         uint32        // of whoever created the socket
	Unread      uint32        // bytes that came and that its process has not read, while it is established
	Class       uint8         // as Socket.SetClass has set it
	Received    uint64        // bytes that came in order, since its beginning (kernel 4.1)
	LastData    time.Duration // since the last of them
	LastSent    time.Duration // since the kernel last transmitted data, anew or again
	Next        time.Duration // until the kernel transmits again what is in flight; 0: no such time-out is set
}

// ErrNoFlow reports that the kernel knows no such connection.
var ErrNoFlow = errors.New("no such connection")

// LookFlow asks the kernel about one connection (sock_diag(7), one exact
// query, no privilege needed). ErrNoFlow: it is not, or is no more; any other
// error says nothing about it. It never blocks.
func LookFlow(f Flow) (FlowInfo, error) {
	request, err := f.request()
	if err != nil {
		return FlowInfo{}, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return FlowInfo{}, callError("socket NETLINK_SOCK_DIAG", err)
	}
	defer unix.Close(fd)
	if err := retry(func() error { return unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) }); err != nil {
		return FlowInfo{}, callError("sendto NETLINK_SOCK_DIAG", err)
	}
	// The kernel answers within sendto.
	var reply [2048]byte
	n, err := retryFD(func() (int, error) { return unix.Read(fd, reply[:]) })
	if err != nil {
		return FlowInfo{}, callError("read NETLINK_SOCK_DIAG", err)
	}
	return f.parse(reply[:n])
}

// Layout of a request: nlmsghdr, then inet_diag_req_v2; and of an answer:
// nlmsghdr, then inet_diag_msg, then attributes (linux/inet_diag.h).
//
//	nlmsghdr          length 4, type 2, flags 2, sequence 4, port 4
//	inet_diag_req_v2  family 1, protocol 1, wanted 1, 1, states 4, id 48
//	inet_diag_msg     family 1, state 1, timer 1, 1, id 48, expires 4, unread 4, unsent 4, uid 4, inode 4
//	id                local port 2, remote port 2, local 16, remote 16, interface 4, cookie 8
const (
	nlHeader     = 16
	diagID       = 48
	diagRequest  = nlHeader + 8 + diagID
	diagAnswer   = nlHeader + 4 + diagID + 20
	diagInfo     = 2 // INET_DIAG_INFO, an attribute: struct tcp_info
	diagTOS      = 5 // INET_DIAG_TOS: a byte
	diagTClass   = 6 // INET_DIAG_TCLASS: the same of IPv6
	tcpEstablish = 1
	timerRetrans = 1 // inet_diag_msg.timer: expires is that of a retransmission
)

func (f Flow) request() ([]byte, error) {
	id, family, err := f.id()
	if err != nil {
		return nil, err
	}
	b := make([]byte, diagRequest)
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], diagRequest)
	ne.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST)
	b[16], b[17], b[18] = family, unix.IPPROTO_TCP, 1<<(diagInfo-1)|1<<(diagTOS-1)|1<<(diagTClass-1)
	ne.PutUint32(b[20:], ^uint32(0)) // whatever its state
	copy(b[24:], id[:])
	return b, nil
}

// id is the connection as the kernel's hash knows it: an IPv4 connection of an
// IPv6 socket is one of IPv4 there.
func (f Flow) id() (id [diagID]byte, family byte, err error) {
	local, remote := unmapped(f.Local), unmapped(f.Remote)
	switch {
	case len(local) != len(remote):
		return id, 0, fmt.Errorf("look for a connection: %w", syscall.EINVAL)
	case len(local) == 4:
		family = unix.AF_INET
	case len(local) == 16:
		family = unix.AF_INET6
	default:
		return id, 0, fmt.Errorf("look for a connection: %w", syscall.EAFNOSUPPORT)
	}
	binary.BigEndian.PutUint16(id[0:], f.LocalPort)
	binary.BigEndian.PutUint16(id[2:], f.RemotePort)
	copy(id[4:20], local)
	copy(id[20:36], remote)
	binary.NativeEndian.PutUint32(id[36:], f.Zone)
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0)) // INET_DIAG_NOCOOKIE
	return id, family, nil
}

// unmapped turns ::ffff:a.b.c.d into a.b.c.d.
func unmapped(ip []byte) []byte {
	const prefix = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"
	if len(ip) == 16 && string(ip[:12]) == prefix {
		return ip[12:]
	}
	return ip
}

var errDiagAnswer = errors.New("malformed answer of NETLINK_SOCK_DIAG")

// parse reads one answer.
func (f Flow) parse(b []byte) (info FlowInfo, err error) {
	ne := binary.NativeEndian
	if len(b) < nlHeader+4 {
		return info, errDiagAnswer
	}
	size := ne.Uint32(b)
	if size < nlHeader+4 || uint64(size) > uint64(len(b)) {
		return info, errDiagAnswer
	}
	b = b[:size]
	if ne.Uint16(b[4:]) == unix.NLMSG_ERROR {
		errno := syscall.Errno(-int32(ne.Uint32(b[nlHeader:])))
		if errno == syscall.ENOENT {
			return info, ErrNoFlow
		}
		return info, callError("NETLINK_SOCK_DIAG", errno)
	}
	if ne.Uint16(b[4:]) != unix.SOCK_DIAG_BY_FAMILY || len(b) < diagAnswer {
		return info, errDiagAnswer
	}
	if !f.is(b[nlHeader], b[nlHeader+4:nlHeader+4+diagID]) {
		return info, ErrNoFlow // a listening socket stands in for a connection that is none
	}
	info.Established = b[nlHeader+1] == tcpEstablish
	rest := b[nlHeader+4+diagID:]
	if b[nlHeader+2] == timerRetrans {
		info.Next = time.Duration(ne.Uint32(rest)) * time.Millisecond
	}
	info.UID, info.Inode = ne.Uint32(rest[12:]), ne.Uint32(rest[16:])
	found := false
	for a := b[diagAnswer:]; len(a) >= 4; {
		length, kind := int(ne.Uint16(a)), ne.Uint16(a[2:])
		if length < 4 || length > len(a) {
			return FlowInfo{}, errDiagAnswer
		}
		switch {
		case kind == diagInfo:
			info.read(a[4:length])
			found = true
		case (kind == diagTOS || kind == diagTClass) && length > 4:
			info.Class |= a[4] // the other one is 0
		}
		a = a[min((length+3)&^3, len(a)):]
	}
	// A connection that has no socket any more (TIME_WAIT) has no such attribute.
	info.Established = info.Established && found
	if info.Established {
		info.Unread = ne.Uint32(rest[4:])
	}
	return info, nil
}

// is reports whether an answer is about f.
func (f Flow) is(family byte, id []byte) bool {
	want, _, err := f.id()
	if err != nil || string(id[:4]) != string(want[:4]) {
		return false
	}
	size := 16
	if family == unix.AF_INET {
		size = 4
	}
	same := func(from int, ip []byte) bool {
		return string(unmapped(id[from:from+size])) == string(unmapped(ip))
	}
	return same(4, f.Local) && same(20, f.Remote)
}

// read takes a struct tcp_info, of which older kernels have less.
func (info *FlowInfo) read(b []byte) {
	var t unix.TCPInfo
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&t)), unsafe.Sizeof(t)), b)
	info.TCPInfo = tcpInfo(&t)
	info.Received = t.Bytes_received
	info.LastData = time.Duration(t.Last_data_recv) * time.Millisecond
	info.LastSent = time.Duration(t.Last_data_sent) * time.Millisecond
}
