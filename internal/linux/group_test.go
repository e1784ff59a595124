package linux

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestGroup ends a group whose leader is dead, in both ways.
func TestGroup(t *testing.T) {
	for name, newGroup := range map[string]func(*PidFD, int) *Group{"now": NewGroup, "before 6.9": NewNumberedGroup} {
		t.Run(name, func(t *testing.T) {
			fd := -1
			cmd := exec.Command("/bin/sh", "-c", "sleep 100 & exit 3")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, PidFD: &fd}
			out, err := cmd.StdoutPipe() // at its end when the whole group is dead
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			leader := AdoptPidFD(fd)
			defer func() { _ = leader.Close() }()
			g := newGroup(leader, cmd.Process.Pid)
			if err := Poll([]PollFD{{FD: leader.FD()}}, time.Minute); err != nil {
				t.Fatal(err)
			}
			if g.OutlivesLeader() { // then the group has a name without its leader
				if _, err := syscall.Wait4(cmd.Process.Pid, nil, 0, nil); err != nil {
					t.Fatal(err)
				}
				g.Reaped()
			}
			if err := g.Signal(0); err != nil {
				t.Errorf("the sleep is in it: %v", err)
			}
			if err := g.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			if _, err := out.Read(make([]byte, 1)); err == nil {
				t.Error("output")
			}
			if !g.OutlivesLeader() {
				if _, err := syscall.Wait4(cmd.Process.Pid, nil, 0, nil); err != nil {
					t.Fatal(err)
				}
				g.Reaped()
				if err := g.Signal(0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("the number is anybody's now: %v", err)
				}
			}
		})
	}
}
