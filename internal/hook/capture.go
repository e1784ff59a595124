package hook

import (
	"errors"
	"syscall"

	"xexit/internal/linux"
)

// maxDrain bounds what is read after the hook's exit: more than a pipe holds
// unless its size was raised (pipe(7)), and an end to a background process that
// writes as fast as it is read.
const maxDrain = 1 << 20

// capture keeps the first limit bytes of a hook's output and counts the rest.
type capture struct {
	limit   int
	kept    []byte
	dropped int64
	buf     [16 << 10]byte
}

// readOnce takes what one read(2) gives; false: there is no more to come.
func (c *capture) readOnce(fd int) bool {
	n, err := linux.Read(fd, c.buf[:])
	c.take(c.buf[:n])
	return n > 0 || errors.Is(err, syscall.EAGAIN)
}

// drain takes what is in the pipe now and waits for nothing: a process that
// the hook left behind may hold the other end open for ever.
func (c *capture) drain(fd int) {
	for total := 0; total < maxDrain; {
		n, err := linux.Read(fd, c.buf[:])
		if err != nil || n == 0 {
			return
		}
		c.take(c.buf[:n])
		total += n
	}
}

func (c *capture) take(b []byte) {
	room := min(max(0, c.limit-len(c.kept)), len(b))
	c.kept = append(c.kept, b[:room]...)
	c.dropped += int64(len(b) - room)
}
