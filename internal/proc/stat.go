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

// ReadStat is Stat into a value that is used again: it allocates only if the
// name of the process has changed.
func (fs *FS) ReadStat(pid int, s *Stat) error {
	data, err := fs.readAtOnce(pid, "stat")
	if err != nil {
		return err
	}
	if err := parseStat(data, s); err != nil {
		return malformed(pid, "stat", err.Error())
	}
	return nil
}

var (
	errStatName   = errors.New("no name in parentheses")
	errStatFields = errors.New("too few fields")
	errStatNumber = errors.New("a field is not a number")
)

// Fields of stat behind the name, counted from state = 0.
const (
	fieldPPID    = 1
	fieldPGID    = 2
	fieldSID     = 3
	fieldTTY     = 4
	fieldFlags   = 6
	fieldThreads = 17
	fieldStart   = 19
	fieldEnvEnd  = 48 // since Linux 3.5
)

// parseStat reads one line of stat. The name may hold anything, also ") S 1",
// so it ends at the last parenthesis of the line. On an error s is unchanged.
func parseStat(data []byte, s *Stat) error {
	left, right := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if left < 1 || right < left {
		return errStatName
	}
	pid, ok := parseUint(bytes.TrimRight(data[:left], " "))
	if !ok || pid > 1<<31-1 {
		return errStatNumber
	}
	out := Stat{PID: int(pid), Comm: s.Comm}
	rest := data[right+1:]
	field := 0
	for {
		for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\n') {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			break
		}
		end := 0
		for end < len(rest) && rest[end] != ' ' && rest[end] != '\n' {
			end++
		}
		if err := out.set(field, rest[:end]); err != nil {
			return err
		}
		rest = rest[end:]
		field++
	}
	if field <= fieldStart {
		return errStatFields
	}
	if name := data[left+1 : right]; string(name) != out.Comm {
		out.Comm = string(name)
	}
	*s = out
	return nil
}

// set stores one field behind the name.
func (s *Stat) set(field int, text []byte) error {
	switch field {
	case 0:
		if len(text) != 1 {
			return errStatFields
		}
		s.State = text[0]
		return nil
	case fieldPPID, fieldPGID, fieldSID, fieldTTY, fieldFlags, fieldThreads, fieldStart, fieldEnvEnd:
	default:
		return nil
	}
	// Process groups are -1 in a dead task and outside our pid namespace
	// numbers are 0; the terminal is an int whose top bit may be set.
	negative := len(text) > 1 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	n, ok := parseUint(text)
	if !ok || (negative || field < fieldStart) && n > 1<<32-1 {
		return errStatNumber
	}
	v := int(n)
	if negative {
		v = -v
	}
	switch field {
	case fieldPPID:
		s.PPID = v
	case fieldPGID:
		s.PGID = v
	case fieldSID:
		s.SID = v
	case fieldTTY:
		s.TTY = v
	case fieldFlags:
		s.Flags = uint32(n)
	case fieldThreads:
		s.Threads = v
	case fieldStart:
		s.Start = n
	case fieldEnvEnd:
		s.EnvEnd = n
	}
	return nil
}
