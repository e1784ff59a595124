package linux

import "golang.org/x/sys/unix"

// IsTerminal reports whether fd is a terminal: whether it answers TCGETS
// (ioctl_tty(2)). Any error means that it is not.
func IsTerminal(fd int) bool {
	err := retry(func() error {
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	return err == nil
}
