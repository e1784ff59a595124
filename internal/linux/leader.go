package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// LeadSession makes the calling process the leader of a session of its own
// (setsid(2)), so that it outlives the terminal that it was started from. It
// reports false where the kernel does not allow that: for the leader of a
// process group, as interactive shells make of every command.
func LeadSession() bool {
	if leadsSession() {
		return true
	}
	_, err := unix.Setsid()
	return err == nil
}

// leadsSession reports whether the calling process leads a session of its own
// (getsid(2)), and so outlives the terminal that it was started from.
func leadsSession() bool {
	sid, err := unix.Getsid(0)
	return err == nil && sid == os.Getpid()
}
