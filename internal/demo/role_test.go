package demo

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"xexit/internal/linux"
)

// A pair of twins has one time to live between them: reviving each other does
// not make it longer.
func TestTwinsDieInTime(t *testing.T) {
	now, err := linux.Now()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	deadline := strconv.FormatInt(int64(now.Monotonic+2*time.Second), 10)
	// Its other is dead already, so that it starts with a revival; the
	// number is that of a process that waits to be collected.
	dead := exec.Command("/bin/true")
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Wait() }()
	cmd := exec.Command(filepath.Join(programs, "xexit-main"), RoleVerb, "twin", "0", fmt.Sprint(dead.Process.Pid), deadline)
	cmd.SysProcAttr = as(os.Getuid())
	cmd.ExtraFiles = []*os.File{write}
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(read).ReadString('\n'); err != nil {
		t.Fatalf("twin said %q: %v", line, err)
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	guard := time.After(60 * time.Second) // half of what a role has otherwise
	revived := false
	for {
		left := leftovers(t, dead.Process.Pid)
		revived = revived || len(left) > 1
		if len(left) == 0 {
			if !revived {
				t.Error("the twin revived nobody")
			}
			return
		}
		select {
		case <-again.C:
		case <-guard:
			t.Fatalf("alive after their time: %v", left)
		}
	}
}
