package linux

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// runFilter is what the kernel does with the few instructions that
// signalFilter uses.
func runFilter(t *testing.T, program []unix.SockFilter, arch, nr uint32) uint32 {
	t.Helper()
	var loaded uint32
	for pc := 0; pc < len(program); pc++ {
		switch in := program[pc]; in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			loaded = map[uint32]uint32{offsetArch: arch, offsetNR: nr}[in.K]
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if loaded == in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: %+v", pc, in)
		}
	}
	t.Fatal("it runs off the end")
	return 0
}

// TestSignalFilter runs every number up to beyond the last system call through
// the filter: the six of each ABI wait for an answer, in that ABI only.
func TestSignalFilter(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		abis := abisOf(goarch)
		program := signalFilter(abis)
		for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_RISCV64} {
			wanted := map[uint32]bool{}
			for _, abi := range abis {
				for _, nr := range abi.calls {
					wanted[nr] = wanted[nr] || abi.arch == arch
				}
			}
			for _, mark := range []uint32{0, x32Bit} {
				for nr := mark; nr < mark+1000; nr++ {
					want := uint32(unix.SECCOMP_RET_ALLOW)
					if wanted[nr] {
						want = unix.SECCOMP_RET_USER_NOTIF
					}
					if got := runFilter(t, program, arch, nr); got != want {
						t.Errorf("%s, arch %#x, call %#x: %#x, want %#x", goarch, arch, nr, got, want)
					}
				}
			}
		}
	}
	if signalFilter(abisOf("riscv64")) != nil {
		t.Error("a filter for a machine whose numbers nobody has entered")
	}
}

// TestOwnNumbers compares the table of the machine that runs this with x/sys.
func TestOwnNumbers(t *testing.T) {
	abis := nativeABIs()
	if abis == nil {
		t.Skip("no shield on this architecture")
	}
	want := [6]uint32{unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_PIDFD_SEND_SIGNAL}
	if abis[0].calls != want {
		t.Errorf("%v, want %v", abis[0].calls, want)
	}
}

func TestParseSignalCall(t *testing.T) {
	abis := abisOf("amd64")
	minus := func(n int) uint64 { return uint64(uint32(int32(-n))) } // upper half clear, as 32 bit callers leave it
	const amd64, i386 = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
	for _, tc := range []struct {
		arch uint32
		nr   int
		args [6]uint64
		want SignalCall
	}{
		{amd64, 62, [6]uint64{^uint64(0), 9}, SignalCall{Name: "kill", Signal: 9, Everybody: true}},
		{i386, 37, [6]uint64{minus(1), 9}, SignalCall{Name: "kill", Signal: 9, Everybody: true}},
		{amd64, x32Bit | 62, [6]uint64{minus(1), 0}, SignalCall{Name: "kill", Everybody: true}},
		{amd64, 62, [6]uint64{1 << 32, 15}, SignalCall{Name: "kill", Signal: 15}}, // pid_t is 32 bits: 0
		{amd64, 62, [6]uint64{minus(77), 15}, SignalCall{Name: "kill", Signal: 15, Group: 77}},
		{amd64, 62, [6]uint64{77, 15}, SignalCall{Name: "kill", Signal: 15, Process: 77}},
		{amd64, 200, [6]uint64{77, 15}, SignalCall{Name: "tkill", Signal: 15, Thread: 77}},
		{amd64, 234, [6]uint64{70, 77, 15}, SignalCall{Name: "tgkill", Signal: 15, Process: 70, Thread: 77}},
		{amd64, 129, [6]uint64{77, 34, 0xdead}, SignalCall{Name: "rt_sigqueueinfo", Signal: 34, Process: 77}},
		{amd64, 297, [6]uint64{70, 77, 34, 0xdead}, SignalCall{Name: "rt_tgsigqueueinfo", Signal: 34, Process: 70, Thread: 77}},
		{amd64, 424, [6]uint64{5, 9, 0, 4}, SignalCall{Name: "pidfd_send_signal", Signal: 9, HasPidFD: true, PidFD: 5, PidFDFlag: 4}},
	} {
		got, ok := parseSignalCall(abis, Notification{Arch: tc.arch, NR: tc.nr, Args: tc.args})
		if !ok || got != tc.want {
			t.Errorf("%+v: %+v %v", tc, got, ok)
		}
	}
	for _, n := range []Notification{{Arch: amd64, NR: 37}, {Arch: i386, NR: 62}, {Arch: unix.AUDIT_ARCH_AARCH64, NR: 129}} {
		if c, ok := parseSignalCall(abis, n); ok {
			t.Errorf("%+v is %+v", n, c)
		}
	}
}

func TestSignalName(t *testing.T) {
	for sig, want := range map[syscall.Signal]string{9: "SIGKILL", 34: "signal 34", 0: "signal 0"} {
		if got := SignalName(sig); got != want {
			t.Errorf("%d: %s, want %s", sig, got, want)
		}
	}
}

func TestReleaseOlderThan(t *testing.T) {
	for release, want := range map[string]bool{
		"5.4.0-42-generic": true, "5.5.0": false, "5.5-rc1": false, "5.10.0-8-amd64": false, "4.19.0": true,
		"6.1.0": false, "10.0": false, "5": false, "": false, "x.y": false,
	} {
		if got := releaseOlderThan(release, 5, 5); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

func TestNotifyUnsupported(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{
		syscall.EINVAL: true, syscall.ENOSYS: true, syscall.EACCES: true, syscall.EPERM: true, syscall.EBUSY: true,
		syscall.ENOMEM: false, syscall.EFAULT: false,
	} {
		if got := NotifyUnsupported(fmt.Errorf("x: %w", callError("seccomp", errno))); got != want {
			t.Errorf("%v: %v", errno, got)
		}
	}
	if NotifyUnsupported(nil) || NotifyUnsupported(errors.New("x")) {
		t.Error("not every error is that")
	}
}
