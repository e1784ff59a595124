package linux

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// CountFlows counts the TCP connections from this network namespace to a port
// of its own loopback, whoever's they are (sock_diag(7), no privilege needed):
// established ones and those that are being made. It never blocks.
func CountFlows(port uint16) (int, error) {
	total := 0
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		n, err := countFlows(family, port)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func countFlows(family byte, port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, callError("socket NETLINK_SOCK_DIAG", err)
	}
	defer unix.Close(fd)
	request := make([]byte, diagRequest)
	ne := binary.NativeEndian
	ne.PutUint32(request[0:], diagRequest)
	ne.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[16], request[17] = family, unix.IPPROTO_TCP
	ne.PutUint32(request[20:], 1<<tcpEstablish|1<<tcpSynSent)
	binary.BigEndian.PutUint16(request[26:], port) // the kernel sorts out the others
	if err := retry(func() error { return unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) }); err != nil {
		return 0, callError("sendto NETLINK_SOCK_DIAG", err)
	}
	reply := make([]byte, 32<<10) // the kernel's messages are no longer
	total := 0
	for {
		n, err := retryFD(func() (int, error) { return unix.Read(fd, reply) })
		if err != nil {
			return 0, callError("read NETLINK_SOCK_DIAG", err)
		}
		found, done, err := countAnswers(reply[:n], port)
		if total += found; err != nil || done {
			return total, err
		}
	}
}

const tcpSynSent = 2

// countAnswers counts the connections in one message of a dump. done: it was
// the last.
func countAnswers(b []byte, port uint16) (found int, done bool, err error) {
	ne := binary.NativeEndian
	if len(b) < nlHeader {
		return 0, false, errDiagAnswer
	}
	for len(b) >= nlHeader {
		size := uint64(ne.Uint32(b))
		if size < nlHeader || size > uint64(len(b)) {
			return 0, false, errDiagAnswer
		}
		switch ne.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			return found, true, nil
		case unix.NLMSG_ERROR:
			if size < nlHeader+4 {
				return 0, false, errDiagAnswer
			}
			return 0, false, callError("NETLINK_SOCK_DIAG", syscall.Errno(-int32(ne.Uint32(b[nlHeader:]))))
		case unix.SOCK_DIAG_BY_FAMILY:
			if size < diagAnswer {
				return 0, false, errDiagAnswer
			}
			if toLoopback(b[nlHeader:size], port) {
				found++
			}
		}
		b = b[min((size+3)&^3, uint64(len(b))):]
	}
	return found, false, nil
}

// toLoopback reads an inet_diag_msg.
func toLoopback(m []byte, port uint16) bool {
	id := m[4:]
	remote := id[20:24]
	if m[0] == unix.AF_INET6 {
		remote = unmapped(id[20:36])
	}
	if len(remote) == 16 {
		return string(remote) == "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" && binary.BigEndian.Uint16(id[2:]) == port
	}
	return remote[0] == 127 && binary.BigEndian.Uint16(id[2:]) == port
}
