//go:build faultpoints

package daemon

import (
	"os"
	"path/filepath"
	"syscall"

	"xexit/internal/linux"
)

// In a test build the daemon kills itself when an end reaches the step that
// XEXIT_FAULT names, once: a file in the runtime directory says that it has.
// The end's process waits there until its standard input says that it may go on.

const keepStdin = true

func faultFile(dir string) string { return filepath.Join(dir, "fault."+os.Getenv("XEXIT_FAULT")) }

func faultEnv(dir string) []string {
	if _, err := os.Lstat(faultFile(dir)); err == nil || os.Getenv("XEXIT_FAULT") == "" {
		return nil
	}
	return []string{"XEXIT_FAULT=" + os.Getenv("XEXIT_FAULT")}
}

func fault(dir, step string) {
	if step == "" || step != os.Getenv("XEXIT_FAULT") {
		return
	}
	f, err := os.OpenFile(faultFile(dir), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return // it has happened
	}
	_ = f.Close()
	if me, err := linux.OpenPidFD(os.Getpid()); err == nil {
		_ = me.Signal(syscall.SIGKILL)
	}
}
