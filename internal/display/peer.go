package display

import (
	"bytes"
	"os"
	"strconv"

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
	if c.link != Local || c.sock == nil {
		return
	}
	pid, err := c.sock.PeerPID()
	if err != nil || pid <= 0 {
		return // in no pid namespace of ours
	}
	p.pid = pid
	fd, err := linux.OpenPidFD(pid)
	if err == nil {
		p.fd = fd
	}
	p.unable = outcome(err) == Unable
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
	dead, err := linux.Readable(p.fd.FD())
	if err != nil {
		return PeerUnknown
	}
	if dead {
		return PeerDead
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
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
