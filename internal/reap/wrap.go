package reap

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"xexit/internal/proc"
)

// wrapMargin: with fewer numbers than this left before the largest, the next
// pass may be overtaken by the wrap, and two clean looks are demanded.
const wrapMargin = 1024

// wrapWatch tells whether process numbers start again from the low end, where
// an ascending pass has been already.
type wrapWatch struct {
	fs    *proc.FS
	limit int // kernel.pid_max (proc(5)); 0: not known
}

// newWrapWatch reads the limit. Without it every moment is near the wrap.
func newWrapWatch(fs *proc.FS) wrapWatch {
	limit, err := pidMax(fs.Root())
	if err != nil {
		limit = 0
	}
	return wrapWatch{fs, limit}
}

// numbers is what became of the process numbers while something was done.
type numbers struct {
	births  bool // somebody was born
	near    bool // two clean looks are due; also where not all can be known
	wrapped bool // they started again from the low end
}

// during calls f and reports what became of the process numbers meanwhile.
func (w wrapWatch) during(f func()) numbers {
	before, errBefore := w.position()
	f()
	after, errAfter := w.position()
	if errBefore != nil || errAfter != nil {
		return numbers{near: true}
	}
	forks := after.forks - before.forks
	return numbers{
		births: forks > 0,
		near:   after.last+wrapMargin > w.limit,
		// The last number alone does not show a whole turn: a fork bomb
		// makes one in less than half a second where pid_max is 32768, and a
		// look may take that long on a machine that a fork bomb keeps busy.
		wrapped: after.last < before.last || forks >= uint64(max(w.limit-wrapMargin, wrapMargin)),
	}
}

// position is how far the kernel has come with the numbers.
type position struct {
	last  int    // the one that was given last
	forks uint64 // processes and threads since boot, in all pid namespaces
}

func (w wrapWatch) position() (p position, err error) {
	if p.last, err = w.fs.LastPID(); err != nil {
		return p, err
	}
	p.forks, err = forks(w.fs.Root())
	return p, err
}

// forks reads the line "processes" of /proc/stat (proc(5)).
func forks(root string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(root, "stat"))
	if err != nil {
		return 0, fmt.Errorf("read the count of forks: %w", err)
	}
	_, rest, _ := bytes.Cut(text, []byte("\nprocesses "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	count, err := strconv.ParseUint(string(line), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the count of forks: %w", err)
	}
	return count, nil
}

// pidMax is one more than the largest number that a process can have.
func pidMax(root string) (int, error) {
	text, err := os.ReadFile(filepath.Join(root, "sys/kernel/pid_max"))
	if err != nil {
		return 0, fmt.Errorf("read pid_max: %w", err)
	}
	limit, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil {
		return 0, fmt.Errorf("read pid_max: %w", err)
	}
	return limit, nil
}
