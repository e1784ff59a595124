package watcher

import (
	"errors"
	"fmt"
	"syscall"
)

// become runs CMD in place of this process, where its session cannot be ended
// because of why: CMD may be somebody's whole desktop, and he must be able to
// log in and have that mended. It has no session of its own then, and gets the
// environment as it is. It returns only if CMD cannot be run.
func (s *subreaper) become(why error) int {
	loud := s.report
	loud.stderr = s.Stderr
	loud.failf("WARNING: %v: running %s all the same, but its session will NOT be ended: what it leaves stays, until this is mended and the command is started again", why, s.path)
	err := syscall.Exec(s.path, s.options.command, s.Environ)
	if errors.Is(err, syscall.ENOEXEC) { // as startProgram
		err = syscall.Exec("/bin/sh", append([]string{"sh", s.path}, s.options.command[1:]...), s.Environ)
	}
	s.complain(fmt.Errorf("start %s: %w", s.path, err))
	return exitFailed
}
