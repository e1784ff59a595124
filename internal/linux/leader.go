package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// LeadsSession reports whether the calling process leads a session of its own
// (getsid(2)), and so outlives the terminal that it was started from.
func LeadsSession() bool {
	sid, err := unix.Getsid(0)
	return err == nil && sid == os.Getpid()
}
