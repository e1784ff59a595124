package linux

import "golang.org/x/sys/unix"

// Random fills p, of at most 256 bytes, with random bytes of the kernel
// (getrandom(2)): crypto/rand would link and initialise a generator of its own.
func Random(p []byte) error {
	return callError("getrandom", retry(func() error { _, err := unix.Getrandom(p, 0); return err }))
}
