package linux

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// ExecConfined executes this program again, with argv and env, as one that
// gains nothing by execve(2) any more: set-id bits and file capabilities have
// no effect (PR_SET_NO_NEW_PRIVS, prctl(2)). The attribute is a thread's, and
// passes to what that executes. It returns at once, with false, if this process
// has it already.
func ExecConfined(argv, env []string) (bool, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	has, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return false, callError("prctl PR_GET_NO_NEW_PRIVS", err)
	}
	if has == 1 {
		return false, nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return false, callError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	return true, callError("execve", unix.Exec("/proc/self/exe", argv, env))
}
