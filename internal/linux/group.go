package linux

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// pidfdSignalProcessGroup is PIDFD_SIGNAL_PROCESS_GROUP (kernel 6.9).
const pidfdSignalProcessGroup = 1 << 2

// AdoptPidFD takes over a descriptor that clone(2) made (CLONE_PIDFD, what
// syscall.SysProcAttr.PidFD asks for).
func AdoptPidFD(fd int) *PidFD { return &PidFD{fd} }

// Group is the process group that a child of ours leads, until the end of the
// group and not only of its leader. Not safe for concurrent use.
//
// From kernel 6.9 on it is signalled through the leader's pidfd, which stays
// the group's name also when the leader is dead and reaped. Before that there
// is only the number: an unreaped child pins it, so by number is exact as long
// as, and only as long as, the caller has not waited for the leader.
type Group struct {
	leader   *PidFD
	pgid     int
	byNumber bool
	reaped   bool
}

// NewGroup is the group of leader, a child with process id pgid that was
// started as the leader of a group and has not been waited for.
func NewGroup(leader *PidFD, pgid int) *Group {
	g := &Group{leader: leader, pgid: pgid}
	_ = g.Signal(0) // settles which way it is
	return g
}

// NewNumberedGroup is NewGroup as it is before kernel 6.9.
func NewNumberedGroup(leader *PidFD, pgid int) *Group {
	return &Group{leader: leader, pgid: pgid, byNumber: true}
}

// OutlivesLeader reports whether the group may be signalled after its leader
// was waited for.
func (g *Group) OutlivesLeader() bool { return !g.byNumber }

// Reaped tells the group that its leader has been waited for.
func (g *Group) Reaped() { g.reaped = true }

// Signal sends sig to every member that kill(2) would allow; 0 asks whether
// there is any, a dead and unreaped leader included. ESRCH: the group is empty.
// EPERM: there are members, and none of them may be signalled.
func (g *Group) Signal(sig syscall.Signal) error {
	if !g.byNumber {
		err := retry(func() error { return unix.PidfdSendSignal(g.leader.fd, sig, nil, pidfdSignalProcessGroup) })
		if !errors.Is(err, syscall.EINVAL) {
			return callError("pidfd_send_signal PIDFD_SIGNAL_PROCESS_GROUP", err)
		}
		g.byNumber = true
	}
	if g.reaped {
		return callError("kill", syscall.ESRCH) // the number may be somebody else's by now
	}
	// The one signal by number: of a group whose leader is our unreaped child.
	return callError("kill", unix.Kill(-g.pgid, sig))
}

// SignalPinned sends sig to every member of a process group that kill(2) would
// allow, at once: the kernel lets nobody in it fork meanwhile (a fork that sees
// the signal begins anew, kernel 4.19). The group has a number only, so the
// caller must know that a member of it lives and cannot leave it before and
// after the call: as long as there is one the kernel gives the number to nobody
// else. ESRCH: the group is empty. EPERM: none of its members may be signalled.
func SignalPinned(pgid int, sig syscall.Signal) error {
	if pgid <= 1 {
		return callError("kill", syscall.EINVAL) // 0 is our own group, -1 means everybody
	}
	return callError("kill", unix.Kill(-pgid, sig))
}
