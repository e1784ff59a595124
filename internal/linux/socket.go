package linux

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is a non-blocking stream socket. It belongs to one goroutine.
type Socket struct{ fd int }

// DialUnix starts a connection to a unix socket (unix(7)). A name that starts
// with '@' is abstract. Such a connect is done when the call returns; EAGAIN
// says that the server does not accept and its queue is full.
func DialUnix(name string) (*Socket, error) {
	s, err := newSocket(unix.AF_UNIX)
	if err != nil {
		return nil, err
	}
	if _, err := s.connect(&unix.SockaddrUnix{Name: name}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// DialTCP starts a connection to addr, of 4 or 16 bytes; zone is the interface
// index of a link-local one. With pending the outcome comes later: the socket
// becomes writable and Err tells.
func DialTCP(addr []byte, zone uint32, port uint16) (s *Socket, pending bool, err error) {
	var to unix.Sockaddr
	family := unix.AF_INET
	switch len(addr) {
	case 4:
		to = &unix.SockaddrInet4{Port: int(port), Addr: [4]byte(addr)}
	case 16:
		family = unix.AF_INET6
		to = &unix.SockaddrInet6{Port: int(port), Addr: [16]byte(addr), ZoneId: zone}
	default:
		return nil, false, callError("connect", syscall.EAFNOSUPPORT)
	}
	if s, err = newSocket(family); err != nil {
		return nil, false, err
	}
	if pending, err = s.connect(to); err != nil {
		return nil, false, errors.Join(err, s.Close())
	}
	return s, pending, nil
}

func newSocket(family int) (*Socket, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, callError("socket", err)
	}
	return &Socket{fd}, nil
}

// connect is not restarted after EINTR: the connection is then under way, as
// with EINPROGRESS (connect(2)).
func (s *Socket) connect(to unix.Sockaddr) (pending bool, err error) {
	err = unix.Connect(s.fd, to)
	if errors.Is(err, syscall.EINPROGRESS) || errors.Is(err, syscall.EINTR) {
		return true, nil
	}
	return false, callError("connect", err)
}

// FD is the descriptor, for polling only.
func (s *Socket) FD() int { return s.fd }

// Err is the socket's pending error and clears it: nil after a connect that
// succeeded.
func (s *Socket) Err() error {
	errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return callError("getsockopt SO_ERROR", err)
	}
	if errno != 0 {
		return callError("connect", syscall.Errno(errno))
	}
	return nil
}

// Read reads what there is. io.EOF: the peer closed. EAGAIN: nothing now.
func (s *Socket) Read(p []byte) (int, error) {
	n, err := retryFD(func() (int, error) { return s.recv(p) })
	if err != nil {
		return 0, callError("recvfrom", err)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write writes what fits, without SIGPIPE. EAGAIN: nothing fits now.
func (s *Socket) Write(p []byte) (int, error) {
	n, err := retryFD(func() (int, error) { return unix.SendmsgN(s.fd, p, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT) })
	if err != nil {
		return 0, callError("sendmsg", err)
	}
	return n, nil
}

// PeerPID is the process that called listen for the peer's end of a unix
// socket (SO_PEERCRED, unix(7)): 0 if it is in no pid namespace of ours, or on
// another kind of socket.
func (s *Socket) PeerPID() (int, error) {
	cred, err := PeerCred(s.fd)
	return cred.PID, err
}

// Flow names the TCP connection that the socket is one end of
// (getsockname(2), getpeername(2)). ENOTCONN: it does not stand.
func (s *Socket) Flow() (f Flow, err error) {
	own, err := unix.Getsockname(s.fd)
	if err != nil {
		return f, callError("getsockname", err)
	}
	peer, err := unix.Getpeername(s.fd)
	if err != nil {
		return f, callError("getpeername", err)
	}
	f.Local, f.LocalPort, f.Zone = internet(own)
	f.Remote, f.RemotePort, _ = internet(peer)
	if f.Local == nil || f.Remote == nil {
		return Flow{}, callError("getsockname", syscall.EAFNOSUPPORT)
	}
	return f, nil
}

func internet(name unix.Sockaddr) (ip []byte, port uint16, zone uint32) {
	switch n := name.(type) {
	case *unix.SockaddrInet4:
		return n.Addr[:], uint16(n.Port), 0
	case *unix.SockaddrInet6:
		return n.Addr[:], uint16(n.Port), n.ZoneId
	}
	return nil, 0, 0
}

// SetClass sets the traffic class of a TCP connection (IP_TOS of ip(7),
// IPV6_TCLASS of ipv6(7)), whose two lowest bits are the kernel's. Anyone can
// see it, see LookFlow.
func (s *Socket) SetClass(class uint8) error {
	own, err := unix.Getsockname(s.fd)
	if err != nil {
		return callError("getsockname", err)
	}
	if _, is4 := own.(*unix.SockaddrInet4); is4 {
		return callError("setsockopt IP_TOS", unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TOS, int(class)))
	}
	return callError("setsockopt IPV6_TCLASS", unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(class)))
}

// ToItself reports whether a TCP connection leads to the address that it comes
// from: to this host.
func (s *Socket) ToItself() (bool, error) {
	f, err := s.Flow()
	return err == nil && bytes.Equal(f.Local, f.Remote), err
}

// Close closes the socket.
func (s *Socket) Close() error { return callError("close", unix.Close(s.fd)) }

// TCPInfo is what the kernel knows about the link under a TCP connection
// (tcp(7), TCP_INFO).
type TCPInfo struct {
	Unacked     uint32        // segments in flight
	Retransmits uint8         // time-outs in a row of the oldest of them
	Backoff     uint8         // how often the time-out, or the pause between zero-window probes, was doubled
	Probes      uint8         // keepalive or zero-window probes without an answer
	RTT         time.Duration // smoothed
	LastAckRecv time.Duration // since the peer's kernel last acknowledged anything
}

// TCPInfo samples the connection.
func (s *Socket) TCPInfo() (TCPInfo, error) {
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return TCPInfo{}, callError("getsockopt TCP_INFO", err)
	}
	return tcpInfo(info), nil
}

func tcpInfo(info *unix.TCPInfo) TCPInfo {
	return TCPInfo{
		Unacked:     info.Unacked,
		Retransmits: info.Retransmits,
		Backoff:     info.Backoff,
		Probes:      info.Probes,
		RTT:         time.Duration(info.Rtt) * time.Microsecond,
		LastAckRecv: time.Duration(info.Last_ack_recv) * time.Millisecond,
	}
}

// Keepalive says how a TCP connection is kept under observation by the kernel
// itself, at no cost to the process (tcp(7)).
type Keepalive struct {
	Idle, Interval time.Duration // rounded up to whole seconds
	Count          int
	GiveUp         time.Duration // TCP_USER_TIMEOUT: the kernel ends the connection with ETIMEDOUT
	Longest        time.Duration // TCP_RTO_MAX_MS: between retransmissions, 1 to 120 s; 0, and before kernel 6.15: as it is
}

// TuneTCP sets keepalive and TCP_NODELAY: a request of a few bytes must not
// wait for the one before it.
func (s *Socket) TuneTCP(k Keepalive) error {
	seconds := func(d time.Duration) int { return int(max(1, (d+time.Second-1)/time.Second)) }
	for _, o := range []struct {
		call              string
		level, opt, value int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(k.Idle)},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(k.Interval)},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.Count},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(k.GiveUp / time.Millisecond)},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	} {
		if err := unix.SetsockoptInt(s.fd, o.level, o.opt, o.value); err != nil {
			return callError("setsockopt "+o.call, err)
		}
	}
	// Without it the pauses double up to two minutes, and a link that has
	// healed looks dead for as long as it was cut.
	if k.Longest == 0 {
		return nil
	}
	err := unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, int(k.Longest/time.Millisecond))
	if err != nil && !errors.Is(err, syscall.ENOPROTOOPT) {
		return callError("setsockopt TCP_RTO_MAX_MS", err)
	}
	return nil
}

// Readable reports whether fd polls readable now: for a pidfd, whether its
// process is dead (pidfd_open(2)).
func Readable(fd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := retryFD(func() (int, error) { return unix.Poll(fds, 0) })
	return n > 0, callError("poll", err)
}
