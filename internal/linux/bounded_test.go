package linux

import (
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
