package linux

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// The child is stopped when its time is over, so that only the kernel can end it.
func TestDieAfterEndsTheStopped(t *testing.T) {
	if os.Getenv("LINUX_TEST_DIE") != "" {
		if err := DieAfter(100 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if err := StopSelf(); err != nil {
			t.Fatal(err)
		}
		t.Fatal("continued")
	}
	child := exec.Command("/proc/self/exe", "-test.run=^TestDieAfterEndsTheStopped$")
	child.Env = append(os.Environ(), "LINUX_TEST_DIE=1")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(30*time.Second, func() { _ = child.Process.Kill(); t.Error("still there after 30 s") })
	if err := WaitStopped(child.Process.Pid); err != nil {
		t.Error(err)
	}
	_ = child.Wait()
	if !guard.Stop() {
		return
	}
	if ws, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v, want SIGKILL", child.ProcessState)
	}
}

// Another process of the same user reads the memory of one that has not hidden
// it, and not of one that has.
func TestHideMemory(t *testing.T) {
	if how := os.Getenv("LINUX_TEST_HIDE"); how != "" {
		if how == "hidden" {
			if err := HideMemory(); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = os.Stdout.WriteString("ready\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	user := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 { // for whom nothing is hidden
		user.Credential = &syscall.Credential{Uid: 21099, Gid: 21099}
	}
	for how, want := range map[string]bool{"open": true, "hidden": false} {
		child := exec.Command("/proc/self/exe", "-test.run=^TestHideMemory$")
		child.Env, child.Dir, child.SysProcAttr = append(os.Environ(), "LINUX_TEST_HIDE="+how), "/", user
		in, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"mem", "environ", "fd"} {
			spy := exec.Command("/bin/sh", "-c", `case $1 in */fd) ls "$1";; *) : <"$1";; esac`, "sh", fmt.Sprintf("/proc/%d/%s", child.Process.Pid, file))
			spy.SysProcAttr = user
			if err := spy.Run(); (err == nil) != want {
				t.Errorf("%s: %s: %v; to be seen: %v", how, file, err, want)
			}
		}
		_ = in.Close()
		_ = child.Wait()
	}
}
