package display

import (
	"bytes"
	"errors"
	"strconv"
	"syscall"

	"xexit/internal/linux"
)

// peer is the process at the other end of a unix socket. The number is only
// for looking at it; whether it lives the pidfd tells.
type peer struct {
	pid    int
	unable bool         // no descriptor was left for fd
	fd     *linux.PidFD // nil: unknown
}

// open looks who serves c.
func (p *peer) open(c *client) {
	p.close()
	*p = peer{}
	if c.server == 0 {
		return
	}
	p.pid = c.server
	fd, err := linux.OpenPidFD(p.pid)
	if err == nil {
		p.fd = fd
	}
	p.unable = outcome(err) == Unable
}

// serves reports whether a new connection to the display leads to the same
// listening socket, as far as that can be known: whoever called listen is told
// by number, and a number means the same process as long as that lives. One
// that has exited may have left its socket to a child, who serves it; then
// nobody has that number. Where the kernel tells no number (another pid
// namespace), there is nothing to compare, and the display counts as the same.
// An error says that this process could not look.
func (p *peer) serves(c *client) (bool, error) {
	if c.server != p.pid {
		return false, nil
	}
	if p.pid == 0 || p.fd != nil && !dead(p.fd) {
		return true, nil
	}
	now, err := linux.OpenPidFD(p.pid)
	switch {
	case errors.Is(err, syscall.ESRCH):
		return true, nil
	case err != nil:
		return false, err
	}
	defer func() { _ = now.Close() }() // a reference only
	return dead(now), nil
}

func dead(fd *linux.PidFD) bool {
	yes, err := linux.Readable(fd.FD())
	return err == nil && yes
}

func (p *peer) close() {
	if p.fd != nil {
		_ = p.fd.Close() // a reference only
		p.fd = nil
	}
}

// look tells its state. What /proc/PID/stat hides (hidepid, proc(5)) is taken
// for running.
func (p *peer) look() Peer {
	if p.fd == nil {
		return PeerUnknown
	}
	if dead(p.fd) {
		return PeerDead
	}
	var room [128]byte // for the name, of at most 64 bytes, and the state
	stat, err := linux.ReadSmall("/proc/"+strconv.Itoa(p.pid)+"/stat", room[:])
	if err != nil {
		return PeerAlive
	}
	// The name before the state may hold anything, ')' included.
	_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	if len(rest) == 0 {
		return PeerAlive
	}
	switch rest[0] {
	case 'T', 't':
		return PeerStopped
	case 'D':
		return PeerFrozen
	}
	return PeerAlive
}
