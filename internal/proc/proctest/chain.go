package proctest

import (
	"syscall"
	"unsafe"
)

// maxChain bounds a chain, whatever happens to the pipe that ends it.
const maxChain = 200_000

// forkChain goes on in a child process and leaves its parent, again and again,
// until the life pipe closes. Go cannot fork: the child has one thread and no
// runtime, so nothing but system calls may happen here.
//
//go:norace
//go:nosplit
func forkChain() {
	var b byte
	for range maxChain {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 || pid != 0 {
			break
		}
		if n, _, errno := syscall.RawSyscall(syscall.SYS_READ, lifeFD, uintptr(unsafe.Pointer(&b)), 1); errno == 0 && n == 0 {
			break
		}
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
}
