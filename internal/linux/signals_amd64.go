package linux

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Signals passes sigs on to a channel from now on, as os/signal.Notify does:
// what finds no room in it is dropped. Its second caller in a process takes the
// signals over from the first, and none of them may be given to os/signal too.
//
// It is here because of its price. os/signal keeps three threads (signal_recv,
// ensureSigM and the thread that starts others for the latter), 65 kB in a
// process of 700 kB; and the Go runtime unblocks such signals in every thread,
// which signalfd(2) cannot do with. So the kernel calls a handler that writes
// the signal's number to a pipe (signals_amd64.s), and the runtime's own poller
// waits for that.
//
// A program that this process starts has the default of each: the runtime resets
// what it handled before, execve(2) the rest.
func Signals(to chan<- os.Signal, sigs ...syscall.Signal) error {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return callError("pipe2", err)
	}
	from := os.NewFile(uintptr(ends[0]), "signals")
	go func() {
		for {
			var numbers [16]byte
			n, err := from.Read(numbers[:])
			if err != nil {
				return // never: the handler's end stays open
			}
			for _, number := range numbers[:n] {
				select {
				case to <- syscall.Signal(number):
				default:
				}
			}
		}
	}()
	handler, restorer := signalHandler(ends[1])
	for _, sig := range sigs {
		if err := handle(sig, handler, restorer); err != nil {
			return err
		}
	}
	return nil
}

// kernelSigaction is the kernel's struct sigaction, which is not the C
// library's (arch/x86/include/uapi/asm/signal.h).
type kernelSigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// Flags of kernelSigaction: on the stack that the runtime gives each thread for
// signals, and without an EINTR where there need be none.
const signalFlags = 0x04000000 /* SA_RESTORER */ | 0x08000000 /* SA_ONSTACK */ | 0x10000000 /* SA_RESTART */

func handle(sig syscall.Signal, handler, restorer uintptr) error {
	// With all others blocked, the runtime's never find its stack in use.
	action := kernelSigaction{handler: handler, flags: signalFlags, restorer: restorer, mask: ^uint64(0)}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0)
	if errno != 0 {
		return callError("rt_sigaction", errno)
	}
	return nil
}

// signalHandler sets what the handler writes to, and says where it and the
// return from it are.
func signalHandler(pipe int) (handler, restorer uintptr)
