package proc

import (
	"bytes"
	"errors"

	"xexit/internal/session"
)

// Stat is what /proc/PID/stat says (proc(5)), readable for every process.
type Stat struct {
	PID, PPID, PGID, SID int
	TTY                  int // device number of the controlling terminal; 0: none
	State                byte
	Comm                 string // at most 15 bytes, any but NUL: spaces, ')' and newlines too
	Start                uint64 // clock ticks since boot
	Flags                uint32 // kernel flags of the task (PF_*)
	Threads              int
	EnvEnd               uint64 // where the environment ends; 0 during execve(2), without a memory, and where we may not look
}

// Flags of a task (include/linux/sched.h).
const (
	flagExiting = 0x4
	flagKthread = 0x200000
)

// ID is the identity of the process.
func (s *Stat) ID() session.ProcID { return session.ProcID{PID: s.PID, Start: s.Start} }

// Kernel reports whether it is a thread of the kernel, which no signal ends.
func (s *Stat) Kernel() bool { return s.Flags&flagKthread != 0 }

// Dead reports whether nothing of it runs any more. A leader that has exited
// is a zombie (state Z) while its other threads run on: that is not dead.
func (s *Stat) Dead() bool {
	return (s.State == 'Z' || s.State == 'X' || s.State == 'x') && s.Threads <= 1
}

// Exiting reports whether its first thread is on its way out or dead.
func (s *Stat) Exiting() bool {
	return s.Flags&flagExiting != 0 || s.State == 'Z' || s.State == 'X' || s.State == 'x'
}

// Stat reads /proc/PID/stat.
func (fs *FS) Stat(pid int) (Stat, error) {
	var s Stat
	err := fs.ReadStat(pid, &s)
	return s, err
}

// ReadStat is Stat into a value that is used again: it allocates only for a name
// that was not read of late.
func (fs *FS) ReadStat(pid int, s *Stat) error {
	data, err := fs.readAtOnce(pid, "stat")
	if err != nil {
		return err
	}
	if err := parseStat(data, s, &fs.names); err != nil {
		return malformed(pid, "stat", err.Error())
	}
	return nil
}

var (
	errStatName   = errors.New("no name in parentheses")
	errStatFields = errors.New("too few fields")
	errStatNumber = errors.New("a field is not a number")
)

// Where fields of stat stand behind the name, counted from state = 0.
const (
	fieldTTY     = 4
	fieldFlags   = 6
	fieldThreads = 17
	fieldStart   = 19
	fieldEnvEnd  = 48 // since Linux 3.5
)

// parseStat reads one line of stat. The name may hold anything, also ") S 1",
// so it ends at the last parenthesis of the line. On an error s is unchanged.
func parseStat(data []byte, s *Stat, known *names) error {
	left, right := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if left < 1 || right < left {
		return errStatName
	}
	pid, ok := parseUint(bytes.TrimRight(data[:left], " "))
	if !ok || pid > 1<<31-1 {
		return errStatNumber
	}
	c := fields{rest: data[right+1:]}
	state := c.next()
	ppid, pgid, sid, tty := c.int(), c.int(), c.int(), c.int()
	c.skip(fieldFlags - fieldTTY - 1)
	flags := c.int()
	c.skip(fieldThreads - fieldFlags - 1)
	threads := c.int()
	c.skip(fieldStart - fieldThreads - 1)
	start, ok := parseUint(c.next())
	switch {
	case c.ended || len(state) != 1:
		return errStatFields
	case c.odd || !ok:
		return errStatNumber
	}
	c.skip(fieldEnvEnd - fieldStart - 1)
	envEnd, ok := parseUint(c.next())
	if !ok && !c.ended {
		return errStatNumber
	}
	s.PID, s.State, s.PPID, s.PGID, s.SID, s.TTY = int(pid), state[0], ppid, pgid, sid, tty
	s.Flags, s.Threads, s.Start, s.EnvEnd = uint32(flags), threads, start, envEnd
	if name := data[left+1 : right]; string(name) != s.Comm {
		s.Comm = known.text(name)
	}
	return nil
}

// names are some of those that processes have, of which many have the same.
type names [64]string

func (n *names) text(name []byte) string {
	hash := uint(len(name))
	for _, c := range name {
		hash = hash*31 + uint(c)
	}
	known := &n[hash%uint(len(n))]
	if *known != string(name) {
		*known = string(name)
	}
	return *known
}

// fields takes a line apart whose fields have blanks between them.
type fields struct {
	rest  []byte
	ended bool // more were asked for than there are
	odd   bool // a number was none
}

// next is the next field; empty behind the last one.
func (f *fields) next() []byte {
	begin := 0
	for begin < len(f.rest) && f.rest[begin] <= ' ' {
		begin++
	}
	end := begin
	for end < len(f.rest) && f.rest[end] > ' ' {
		end++
	}
	f.ended = f.ended || begin == end
	field := f.rest[begin:end]
	f.rest = f.rest[end:]
	return field
}

// skip leaves out some fields.
func (f *fields) skip(count int) {
	i, rest := 0, f.rest
	for i < len(rest) && rest[i] <= ' ' {
		i++
	}
	for ; i < len(rest) && count > 0; i++ {
		if rest[i] <= ' ' && rest[i-1] > ' ' {
			count--
		}
	}
	f.rest = rest[i:]
}

// int is the next field as a number of 32 bits, which may have a sign: process
// groups are -1 in a dead task and outside our pid namespace numbers are 0; the
// terminal is an int whose top bit may be set.
func (f *fields) int() int {
	text := f.next()
	negative := len(text) > 1 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	n, ok := parseUint(text)
	f.odd = f.odd || !ok || n > 1<<32-1
	if negative {
		return -int(n)
	}
	return int(n)
}
