package hook

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"xexit/internal/linux"
)

// member is a living process of a hook's process group, other than the hook.
type member struct {
	pid  int
	comm string
	fd   *linux.PidFD
}

func (m member) String() string { return fmt.Sprintf("%d (%s)", m.pid, m.comm) }

// endPolitely sends the TERM that asks it to end, and the CONT without which a
// stopped process never hears it.
func (m member) endPolitely() {
	_ = m.fd.Signal(syscall.SIGTERM) // gone, or not ours to end: the caller waits and sees
	_ = m.fd.Signal(syscall.SIGCONT)
}

// scanGroup finds the living members of the process group pgid but for its
// leader and those that known has, each with a pidfd that was verified after it
// was opened.
func scanGroup(pgid int, known map[int]member) ([]member, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer func() { _ = proc.Close() }()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var found []member
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == pgid {
			continue
		}
		if _, ok := known[pid]; ok {
			continue
		}
		if _, in := inGroup(pid, pgid); !in {
			continue
		}
		fd, err := linux.OpenPidFD(pid)
		if err != nil { // died
			continue
		}
		comm, in := inGroup(pid, pgid) // again: now the pidfd holds the one that was read
		if !in {
			_ = fd.Close()
			continue
		}
		found = append(found, member{pid, comm, fd})
	}
	return found, nil
}

// inGroup reports whether pid is alive in the group, with its name.
func inGroup(pid, pgid int) (comm string, in bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	comm, state, group, ok := parseStat(stat)
	return comm, ok && group == pgid && state != 'Z' && state != 'X'
}

// parseStat reads name, state and process group (proc(5), /proc/PID/stat). The
// name may hold anything, also parentheses: it ends at the last one.
func parseStat(stat []byte) (comm string, state byte, group int, ok bool) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return "", 0, 0, false
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 3 || len(fields[0]) != 1 {
		return "", 0, 0, false
	}
	group, err := strconv.Atoi(string(fields[2]))
	return string(stat[open+1 : end]), fields[0][0], group, err == nil
}
