package linux

import (
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// x32Bit marks the system calls of the x32 ABI, which share AUDIT_ARCH_X86_64.
const x32Bit = 0x40000000

// signalABI is one way into the kernel with its numbers for the calls that
// send signals, in the order of signalCallNames (arch/*/entry/syscalls/*.tbl).
type signalABI struct {
	arch  uint32
	calls [6]uint32
}

// signalCallNames is an array's worth of constants; nothing writes to it.
var signalCallNames = [6]string{"kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"}

const (
	callKill = iota
	callTkill
	callTgkill
	callSigqueue
	callTgsigqueue
	callPidfd
)

// abisOf lists the entry points of a machine that runs this GOARCH: a 64 bit
// kernel takes the 32 bit ones too. None for those that nobody has tried.
func abisOf(goarch string) []signalABI {
	switch goarch {
	case "amd64":
		return []signalABI{
			{unix.AUDIT_ARCH_X86_64, [6]uint32{62, 200, 234, 129, 297, 424}},
			{unix.AUDIT_ARCH_X86_64, [6]uint32{x32Bit | 62, x32Bit | 200, x32Bit | 234, x32Bit | 524, x32Bit | 536, x32Bit | 424}},
			{unix.AUDIT_ARCH_I386, [6]uint32{37, 238, 270, 178, 335, 424}},
		}
	case "arm64":
		return []signalABI{
			{unix.AUDIT_ARCH_AARCH64, [6]uint32{129, 130, 131, 138, 240, 424}},
			{unix.AUDIT_ARCH_ARM, [6]uint32{37, 238, 268, 178, 363, 424}},
		}
	}
	return nil
}

func nativeABIs() []signalABI { return abisOf(runtime.GOARCH) }

// Offsets in struct seccomp_data (seccomp(2)).
const (
	offsetNR   = 0
	offsetArch = 4
)

// signalFilter is the BPF program: user notification for the calls of abis,
// everything else allowed.
//
//	for each ABI:  load arch; not this one → next ABI
//	               load nr; one of the six → notify
//	allow
func signalFilter(abis []signalABI) []unix.SockFilter {
	if len(abis) == 0 {
		return nil
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// skip jumps over that many instructions if the loaded word is not value.
	skip := func(value uint32, over int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(over), K: value}
	}
	ret := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	var program []unix.SockFilter
	for _, abi := range abis {
		program = append(program, load(offsetArch), skip(abi.arch, 1+2*len(abi.calls)), load(offsetNR))
		for _, nr := range abi.calls {
			program = append(program, skip(nr, 1), ret(unix.SECCOMP_RET_USER_NOTIF))
		}
	}
	return append(program, ret(unix.SECCOMP_RET_ALLOW))
}

// SignalCall is a system call that sends a signal, taken apart. Exactly one of
// Process, Group, Everybody, Thread and PidFD says to whom.
type SignalCall struct {
	Name      string
	Signal    syscall.Signal
	Everybody bool // kill(-1)
	Process   int  // a process by its number or by that of one of its threads
	Thread    int  // a thread; Process is set too if the call names it
	Group     int  // a process group; 0 with none of the others set: the caller's own
	HasPidFD  bool
	PidFD     int  // the caller's descriptor
	PidFDFlag uint // PIDFD_SIGNAL_… (kernel 6.9)
}

// ParseSignalCall takes n apart. ok is false if it is no call that the filter
// of NotifySignals holds up.
func ParseSignalCall(n Notification) (c SignalCall, ok bool) { return parseSignalCall(nativeABIs(), n) }

func parseSignalCall(abis []signalABI, n Notification) (c SignalCall, ok bool) {
	arg := func(i int) int { return int(int32(uint32(n.Args[i]))) } // pid_t, int
	for _, abi := range abis {
		if abi.arch != n.Arch {
			continue
		}
		for i, nr := range abi.calls {
			if nr != uint32(n.NR) {
				continue
			}
			c.Name = signalCallNames[i]
			c.Signal = syscall.Signal(arg(1))
			switch i {
			case callKill:
				c.addressed(arg(0))
			case callTkill:
				c.Thread = arg(0)
			case callTgkill, callTgsigqueue:
				c.Process, c.Thread, c.Signal = arg(0), arg(1), syscall.Signal(arg(2))
			case callSigqueue:
				c.Process = arg(0)
			case callPidfd:
				c.HasPidFD, c.PidFD, c.PidFDFlag = true, arg(0), uint(uint32(n.Args[3]))
			}
			return c, true
		}
	}
	return SignalCall{}, false
}

// addressed reads the first argument of kill(2).
func (c *SignalCall) addressed(pid int) {
	switch {
	case pid == -1:
		c.Everybody = true
	case pid < -1:
		c.Group = -pid
	default:
		c.Process = pid // 0: the caller's own group
	}
}

// SignalName is "SIGKILL", or "signal 34" for those without a name.
func SignalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return "signal " + strconv.Itoa(int(sig))
}
