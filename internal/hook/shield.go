package hook

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"xexit/internal/linux"
)

// stageSilent is Result.Unshielded where the stage died without a word.
const stageSilent = "the stage that puts the shield on ended before it did"

// maxDenied bounds Result.Denied: a hook may try for ever.
const maxDenied = 32

// shield answers for the signals that a hook sends.
//
// It is exact for what is in registers: a waiting thread cannot change the
// arguments of its call. Two answers could be overtaken between the look and
// the act: another thread may put a different process behind the descriptor
// that pidfd_send_signal was given, and a number that was nobody's may be
// given to a new thread of ours. The first takes intent, and a hook with intent
// has simpler ways (ptrace, the user's other programs): the shield is there for
// mistakes. The second takes all numbers going round within microseconds.
// Numbers are read as this process' pid namespace has them; a hook that makes a
// namespace of its own is refused kill(-1, …) there too.
type shield struct {
	listener *linux.SignalListener
	protect  []int // processes, this one first
	texts    []string
	more     int // refused beyond maxDenied
}

// newShield takes the listener's descriptor over, also when it fails.
func newShield(fd int, protect []int) (*shield, error) {
	listener, err := linux.NewSignalListener(fd)
	if err != nil {
		return nil, err
	}
	return &shield{listener: listener, protect: append([]int{os.Getpid()}, protect...)}, nil
}

func (s *shield) close() { _ = s.listener.Close() }

func (s *shield) denied() []string {
	if s.more > 0 {
		return append(s.texts, fmt.Sprintf("and %d more", s.more))
	}
	return s.texts
}

// serve answers one call, if found says that one waits. false: the listener is of
// no more use, because nobody is left under it or because it fails; in the
// latter case closing it makes every further signal fail, none gets through.
func (s *shield) serve(found linux.PollFD) bool {
	if !found.In {
		return false
	}
	n, err := s.listener.Receive()
	if err != nil {
		return errors.Is(err, syscall.ENOENT)
	}
	call, ok := linux.ParseSignalCall(n)
	why := ""
	if ok {
		why = s.objection(n.PID, call)
	}
	if why == "" {
		err = s.listener.Continue(n)
		return err == nil || errors.Is(err, syscall.ENOENT)
	}
	caller := describe(n.PID)
	if !s.listener.Waiting(n) { // it died: what was read may be of another process
		return true
	}
	s.note(fmt.Sprintf("%s by %s: refused, %s", format(call), caller, why))
	err = s.listener.Refuse(n, syscall.EPERM)
	return err == nil || errors.Is(err, syscall.ENOENT)
}

func (s *shield) note(text string) {
	switch {
	case len(s.texts) > 0 && s.texts[len(s.texts)-1] == text, len(s.texts) >= maxDenied:
		s.more++
	default:
		s.texts = append(s.texts, text)
	}
}

// objection says why the thread caller may not make the call, "" if it may.
func (s *shield) objection(caller int, c linux.SignalCall) string {
	if c.Signal == 0 { // only asks
		return ""
	}
	switch {
	case c.Everybody:
		return "it would end xexit and the user's other sessions"
	case c.HasPidFD:
		return s.objectionToPidFD(caller, c)
	case c.Group > 0:
		if s.protectsGroup(c.Group) {
			return fmt.Sprintf("process group %d is xexit's", c.Group)
		}
	case c.Process > 0 && s.protects(c.Process):
		return fmt.Sprintf("%d is xexit", c.Process)
	case c.Thread > 0 && s.protects(c.Thread):
		return fmt.Sprintf("%d is xexit", c.Thread)
	}
	// What is left addresses the caller's own group, which is in the hook's
	// session and so never ours, or somebody else.
	return ""
}

// pidfdSignalGroup is PIDFD_SIGNAL_PROCESS_GROUP (pidfd_send_signal(2), 6.9).
const pidfdSignalGroup = 1 << 2

func (s *shield) objectionToPidFD(caller int, c linux.SignalCall) string {
	if c.PidFD < 0 { // PIDFD_SELF_… (6.14), or an error that the kernel will name
		return ""
	}
	pid, err := pidOfFD(caller, c.PidFD)
	switch {
	case errors.Is(err, os.ErrNotExist): // no such descriptor: the kernel will say so
		return ""
	case err != nil:
		return fmt.Sprintf("it could not be checked whom it means: %v", err)
	case pid <= 0: // dead, or of another namespace
		return ""
	case s.protects(pid):
		return fmt.Sprintf("%d is xexit", pid)
	}
	if c.PidFDFlag&pidfdSignalGroup != 0 {
		if group, err := syscall.Getpgid(pid); err == nil && s.protectsGroup(group) {
			return fmt.Sprintf("process group %d is xexit's", group)
		}
	}
	return ""
}

// protects reports whether id is one of the protected processes or of their
// threads: kill(2) takes the number of any thread.
func (s *shield) protects(id int) bool {
	process := id
	if field, err := statusField(id, "Tgid"); err == nil {
		if n, err := strconv.Atoi(field); err == nil {
			process = n
		}
	}
	for _, p := range s.protect {
		if id == p || process == p {
			return true
		}
	}
	return false
}

func (s *shield) protectsGroup(id int) bool {
	for _, p := range s.protect {
		if group, err := syscall.Getpgid(p); err == nil && group == id {
			return true
		}
	}
	return false
}

// pidOfFD is the process behind a pidfd of the thread tid, from its fdinfo
// (proc(5)), or behind a descriptor of a /proc/PID directory, which
// pidfd_send_signal takes as well. 0: neither; -1: it is dead.
func pidOfFD(tid, fd int) (int, error) {
	base := "/proc/" + strconv.Itoa(tid)
	info, err := os.ReadFile(base + "/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	if field, ok := findField(info, "Pid"); ok {
		return strconv.Atoi(field)
	}
	link, err := os.Readlink(base + "/fd/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	if number, ok := strings.CutPrefix(link, "/proc/"); ok {
		if pid, err := strconv.Atoi(number); err == nil {
			return pid, nil
		}
	}
	return 0, nil
}

// describe is "PID (comm)" of the process that the thread tid belongs to.
func describe(tid int) string {
	name, err := statusField(tid, "Name")
	if err != nil {
		name = "?"
	}
	if process, err := statusField(tid, "Tgid"); err == nil {
		return process + " (" + name + ")"
	}
	return strconv.Itoa(tid) + " (" + name + ")"
}

func statusField(pid int, field string) (string, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return "", err
	}
	value, ok := findField(status, field)
	if !ok {
		return "", fmt.Errorf("read /proc/%d/status: no %s", pid, field)
	}
	return value, nil
}

// findField reads "NAME:<tab>VALUE" lines.
func findField(text []byte, name string) (string, bool) {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return string(bytes.TrimSpace(value)), true
		}
	}
	return "", false
}

// format writes the call as a reader of strace(1) knows it.
func format(c linux.SignalCall) string {
	sig := linux.SignalName(c.Signal)
	switch {
	case c.Everybody:
		return fmt.Sprintf("%s(-1, %s)", c.Name, sig)
	case c.HasPidFD:
		return fmt.Sprintf("%s(%d, %s)", c.Name, c.PidFD, sig)
	case c.Group > 0:
		return fmt.Sprintf("%s(-%d, %s)", c.Name, c.Group, sig)
	case c.Thread > 0 && c.Process > 0:
		return fmt.Sprintf("%s(%d, %d, %s)", c.Name, c.Process, c.Thread, sig)
	case c.Thread > 0:
		return fmt.Sprintf("%s(%d, %s)", c.Name, c.Thread, sig)
	}
	return fmt.Sprintf("%s(%d, %s)", c.Name, c.Process, sig)
}
