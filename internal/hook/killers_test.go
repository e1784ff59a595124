package hook

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

// killMain sends signals in the ways that a compiled program has. It does
// nothing as root.
func killMain(args []string) int {
	if os.Getuid() == 0 || len(args) < 2 {
		return 2
	}
	target, err := strconv.Atoi(args[1])
	if err != nil {
		return 2
	}
	const sigKill = uintptr(syscall.SIGKILL)
	id := uintptr(target)
	info := siginfo(syscall.SIGKILL)
	var errno syscall.Errno
	switch args[0] {
	case "kill":
		_, _, errno = syscall.RawSyscall(syscall.SYS_KILL, id, sigKill, 0)
	case "tkill":
		_, _, errno = syscall.RawSyscall(syscall.SYS_TKILL, id, sigKill, 0)
	case "tgkill":
		_, _, errno = syscall.RawSyscall(syscall.SYS_TGKILL, id, id, sigKill)
	case "sigqueue":
		_, _, errno = syscall.RawSyscall(syscall.SYS_RT_SIGQUEUEINFO, id, sigKill, uintptr(unsafe.Pointer(&info[0])))
	case "tgsigqueue":
		_, _, errno = syscall.RawSyscall6(sysTgsigqueue(), id, id, sigKill, uintptr(unsafe.Pointer(&info[0])), 0, 0)
	case "pidfd", "pidfd-group":
		fd, _, e := syscall.RawSyscall(sysPidfdOpen, id, 0, 0)
		if e != 0 {
			return 2
		}
		flags := uintptr(0)
		if args[0] == "pidfd-group" {
			flags = pidfdSignalGroup
		}
		_, _, errno = syscall.RawSyscall6(sysPidfdSendSignal, fd, sigKill, 0, flags, 0, 0)
	case "proc-dir":
		dir, err := os.Open("/proc/" + args[1])
		if err != nil {
			return 2
		}
		_, _, errno = syscall.RawSyscall6(sysPidfdSendSignal, dir.Fd(), sigKill, 0, 0, 0, 0)
	case "x32":
		_, _, errno = syscall.RawSyscall(1<<30|62, id, sigKill, 0)
	case "storm":
		return storm()
	default:
		return 2
	}
	if errno == 0 {
		fmt.Println("sent")
		return 0
	}
	fmt.Println(errno)
	return 1
}

const (
	sysPidfdSendSignal = 424
	sysPidfdOpen       = 434
)

func sysTgsigqueue() uintptr {
	if runtime.GOARCH == "arm64" {
		return 240
	}
	return 297
}

// siginfo is what sigqueue(3) hands over: number, errno, SI_QUEUE.
func siginfo(sig syscall.Signal) *[32]int32 { return &[32]int32{int32(sig), 0, -1} }

// storm sends itself signals from many threads at once.
func storm() int {
	done := make(chan error)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			for range 300 {
				if err := syscall.Kill(os.Getpid(), syscall.SIGURG); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("calm")
	return 0
}
