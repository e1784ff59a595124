package proctest

import (
	"runtime"
	"runtime/debug"
	"syscall"
)

// exitFirstThread ends the first thread of the process and leaves the rest
// running: the process then looks like a zombie (state Z) and is none. It
// does not return until the process is to end.
func exitFirstThread() {
	// The thread takes to its grave the processor of the scheduler that it ran
	// on. On a machine with one CPU there is only one: more are needed. From
	// then on the world cannot be stopped, so there must be no reason to.
	runtime.GOMAXPROCS(4)
	debug.SetGCPercent(-1)
	// A goroutine that is locked to the first thread can end it; on any
	// other thread the call would be of no use. RunIfChild runs in the main
	// goroutine, which may be anywhere: try threads until one is the first.
	go exitWithTest()
	hold := make(chan struct{})
	for range 64 {
		go func() {
			leaveFirstThread()
			<-hold
		}()
	}
	leaveFirstThread()
	<-hold
}

// leaveFirstThread keeps the goroutine on its thread, and ends both if that is
// the first.
func leaveFirstThread() {
	runtime.LockOSThread()
	if syscall.Gettid() == syscall.Getpid() {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
	}
}

// exitWithTest ends the process when the test has, and does not wait for that
// on the first thread, where nobody else could end it.
func exitWithTest() {
	runtime.LockOSThread()
	if syscall.Gettid() == syscall.Getpid() {
		go exitWithTest()
		leaveFirstThread()
	}
	var b [1]byte
	_, _ = syscall.Read(lifeFD, b[:])
	syscall.Exit(0)
}
