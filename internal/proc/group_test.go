package proc

import (
	"bufio"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
)

// flock is a process group of two shells that wait, the leader of which is dead.
func flock(t *testing.T) (fs *FS, pgid int, members []int) {
	t.Helper()
	fs, err := New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() })
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo $!; sleep 1000 & echo $!; read x")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for range 2 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid := 0
		for _, c := range line[:len(line)-1] {
			pid = pid*10 + int(c-'0')
		}
		members = append(members, pid)
		ref := openRef(t, fs, pid)
		t.Cleanup(func() { _ = ref.Signal(syscall.SIGKILL) })
	}
	_ = in.Close()
	if _, err := cmd.Process.Wait(); err != nil { // the leader
		t.Fatal(err)
	}
	return fs, cmd.Process.Pid, members
}

func openRef(t *testing.T, fs *FS, pid int) *Ref {
	t.Helper()
	ref, err := fs.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ref.Close() })
	return ref
}

// comes waits for a state of a process, or for its death with 'Z'.
func comes(t *testing.T, fs *FS, pid int, state byte) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		s, err := fs.Stat(pid)
		if err == nil && s.State == state || errors.Is(err, ErrGone) && state == 'Z' {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d: %+v, %v, waited for %c", pid, s, err, state)
		}
		_ = linux.Poll(nil, time.Millisecond) // there is no event for it
	}
}

// A group whose leader is dead is stopped and continued as one through a member
// that has stopped in it, and through nobody else.
func TestSignalGroup(t *testing.T) {
	fs, pgid, members := flock(t)
	pin := openRef(t, fs, members[0])
	if err := fs.SignalGroup(pin, pgid, syscall.SIGSTOP); !errors.Is(err, ErrUnpinned) {
		t.Errorf("pinned by one that runs: %v", err)
	}
	if err := pin.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	comes(t, fs, members[0], 'T')
	if err := fs.SignalGroup(pin, syscall.Getpgrp(), syscall.SIGSTOP); !errors.Is(err, ErrUnpinned) {
		t.Errorf("pinned by one of another group: %v", err)
	}
	if s, err := fs.Stat(members[1]); err != nil || s.State == 'T' {
		t.Fatalf("stopped already: %+v, %v", s, err)
	}
	if err := fs.SignalGroup(pin, pgid, syscall.SIGSTOP); err != nil {
		t.Error(err)
	}
	comes(t, fs, members[1], 'T')
	if err := fs.SignalGroup(pin, pgid, syscall.SIGCONT); err != nil {
		t.Error(err)
	}
	comes(t, fs, members[0], 'S')
	comes(t, fs, members[1], 'S')
	if err := pin.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := linux.Poll([]linux.PollFD{{FD: pin.FD()}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := fs.SignalGroup(pin, pgid, syscall.SIGSTOP); !errors.Is(err, ErrGone) {
		t.Errorf("pinned by a dead one: %v", err)
	}
	if s, err := fs.Stat(members[1]); err != nil || s.State == 'T' {
		t.Errorf("stopped through a dead one: %+v, %v", s, err)
	}
}

// Numbers that mean everybody or one's own group are no groups.
func TestSignalPinned(t *testing.T) {
	for _, pgid := range []int{-5, -1, 0, 1} {
		if err := linux.SignalPinned(pgid, 0); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%d: %v", pgid, err)
		}
	}
}
