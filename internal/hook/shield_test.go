package hook

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bystander is a process of the private user's that no hook has to do with.
func bystander(t *testing.T, uid int) *exec.Cmd {
	t.Helper()
	cmd := as(exec.Command("/bin/sleep", "600"), uid)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func alive(t *testing.T, cmd *exec.Cmd) bool {
	t.Helper()
	_, yes := livesStill(strconv.Itoa(cmd.Process.Pid))
	return yes
}

// killers are hooks that would end all of the user's processes.
func killers(t *testing.T) map[string]string {
	self := selfCopy(t)
	hooks := map[string]string{
		"sourced":    fragment(t, "kill -9 -1; echo status $?\n"),
		"executable": script(t, "kill -9 -1; echo status $?\n"),
		"/bin/kill":  script(t, "/bin/kill -KILL -- -1; echo status $?\n"),
		"TERM":       script(t, "trap '' TERM; kill -TERM -1; echo status $?\n"),
		"perl":       script(t, "perl -e 'exit(kill(9, -1) ? 0 : 1)'; echo status $?\n"),
		"compiled":   script(t, self+" "+verbKill+" kill -1; echo status $?\n"),
		"background": script(t, "(kill -9 -1; echo status $?) & wait\n"),
		"setsid":     script(t, "setsid sh -c 'kill -9 -1; echo status $?'\n"),
	}
	if runtime.GOARCH == "amd64" {
		hooks["x32"] = script(t, self+" "+verbKill+" x32 -1; echo status $?\n")
		program := write(t, filepath.Join(hookDir(t), "kill386"), kill386(), 0o755)
		if runs386(t, program) {
			hooks["i386"] = script(t, program+"; echo status $?\n")
		}
	}
	return hooks
}

// runs386 reports whether the kernel executes programs of 32 bits. Where it says
// that it does not (ENOEXEC) there is no such killer.
func runs386(t *testing.T, program string) bool {
	t.Helper()
	// It would kill whom it may: alone in namespaces of its own that is nobody.
	c := exec.Command(program)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	err := c.Run()
	var status *exec.ExitError
	if err == nil || errors.As(err, &status) {
		return true
	}
	if !errors.Is(err, syscall.ENOEXEC) {
		t.Fatal(err)
	}
	t.Log("this kernel executes no program of 32 bits")
	return false
}

// kill386 is a program of 32 bits: kill(-1, SIGKILL), then exit with the errno.
func kill386() string {
	const base = 0x08048000
	code := "\xb8\x25\x00\x00\x00" + // mov eax, 37 (kill)
		"\xbb\xff\xff\xff\xff" + // mov ebx, -1
		"\xb9\x09\x00\x00\x00" + // mov ecx, 9
		"\xcd\x80" + // int 0x80
		"\x89\xc3\xf7\xdb" + // mov ebx, eax; neg ebx
		"\xb8\x01\x00\x00\x00" + // mov eax, 1 (exit)
		"\xcd\x80"
	const headers = 52 + 32
	w16 := func(v int) string { return string([]byte{byte(v), byte(v >> 8)}) }
	w32 := func(v int) string { return w16(v) + w16(v>>16) }
	size := w32(headers + len(code))
	return "\x7fELF\x01\x01\x01" + strings.Repeat("\x00", 9) + w16(2) + w16(3) + w32(1) + w32(base+headers) + w32(52) + w32(0) + w32(0) +
		w16(52) + w16(32) + w16(1) + w16(0) + w16(0) + w16(0) +
		w32(1) + w32(0) + w32(base) + w32(base) + size + size + w32(5) + w32(0x1000) + code
}

// TestKillEverybody: kill -9 -1, in whatever a hook is written in, is refused
// and noted; xexit, the hook itself and a bystander of the same user live.
func TestKillEverybody(t *testing.T) {
	uid := privateUser(t)
	other := bystander(t, uid)
	for name, hook := range killers(t) {
		t.Run(name, func(t *testing.T) {
			r, state := runAs(t, uid, hook, plainEnv, Options{Shield: true})
			if !state.Success() {
				t.Fatalf("xexit ended with %v", state)
			}
			if !alive(t, other) {
				t.Error("the bystander is dead")
			}
			if !strings.HasSuffix(string(r.Output), "status 1\n") {
				t.Errorf("the hook said %q, want that its kill failed", r.Output)
			}
			sig := "SIGKILL"
			if name == "TERM" {
				sig = "SIGTERM"
			}
			want := "kill(-1, " + sig + ") by "
			if len(r.Denied) != 1 || !strings.HasPrefix(r.Denied[0], want) ||
				!strings.HasSuffix(r.Denied[0], "): refused, it would end xexit and the user's other sessions") {
				t.Errorf("denied %q, want %q", r.Denied, want)
			}
			if r.Status != 0 || r.Unshielded != "" || r.Failed != "" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestKillEverybodyUnshielded is the control: the same hooks without the
// shield end their runner, and the bystander.
func TestKillEverybodyUnshielded(t *testing.T) {
	uid := privateUser(t)
	for name, hook := range killers(t) {
		if name == "x32" || name == "TERM" {
			continue // most kernels are built without the first; the second is not for ever
		}
		t.Run(name, func(t *testing.T) {
			other := bystander(t, uid)
			r, state := runAs(t, uid, hook, plainEnv, Options{})
			if ws, ok := state.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
				t.Errorf("the runner ended with %v: the hook harms nobody, so the shield proves nothing\n%s", state, r.Output)
			}
			_ = other.Wait()
			if alive(t, other) {
				t.Error("the bystander lives")
			}
		})
	}
}

// TestPkill: a hook may end other processes of the user, and itself, one by
// one; xexit is left out.
func TestPkill(t *testing.T) {
	uid := privateUser(t)
	hook := script(t, fmt.Sprintf("pkill -KILL -u %d\n", uid))
	t.Run("shielded", func(t *testing.T) {
		other := bystander(t, uid)
		r, state := runAs(t, uid, hook, plainEnv, Options{Shield: true})
		if !state.Success() {
			t.Fatalf("xexit ended with %v", state)
		}
		if len(r.Denied) != 1 || !strings.Contains(r.Denied[0], "(pkill): refused, ") || !strings.HasSuffix(r.Denied[0], " is xexit") {
			t.Errorf("denied %q", r.Denied)
		}
		if r.Signal != syscall.SIGKILL {
			t.Errorf("%+v, want the hook ended by itself", r)
		}
		_ = other.Wait()
		if alive(t, other) {
			t.Error("it did not end the other process: more was refused than was noted")
		}
	})
	t.Run("control", func(t *testing.T) {
		if _, state := runAs(t, uid, hook, plainEnv, Options{}); state.Success() {
			t.Error("without the shield the runner lived")
		}
	})
}

// TestKillXexit: every call that sends a signal is refused for xexit, its
// threads, its group and what the caller protects, and goes through to others.
func TestKillXexit(t *testing.T) {
	uid := privateUser(t)
	self := selfCopy(t)
	protected := bystander(t, uid)
	// mate is in the group of what is protected, and is not protected itself.
	mate := as(exec.Command("/bin/sleep", "100"), uid)
	mate.SysProcAttr.Pgid = protected.Process.Pid
	must(t, mate.Start())
	t.Cleanup(func() {
		_ = mate.Process.Kill()
		_ = mate.Wait()
	})
	theirGroup := fmt.Sprintf("refused, process group %d is xexit's", protected.Process.Pid)
	for _, call := range []string{"kill", "tkill", "tgkill", "sigqueue", "tgsigqueue", "pidfd", "pidfd-group", "proc-dir"} {
		free := bystander(t, uid)
		for target, want := range map[string]string{
			"$PPID":                                   " is xexit",
			"$(ls /proc/$PPID/task | tail -n 1)":      " is xexit",
			fmt.Sprint(protected.Process.Pid):         fmt.Sprintf("refused, %d is xexit", protected.Process.Pid),
			"-$(cut -d' ' -f5 /proc/$PPID/stat)":      "'s",
			fmt.Sprintf("-%d", protected.Process.Pid): theirGroup,
			fmt.Sprint(mate.Process.Pid):              theirGroup,
			fmt.Sprint(free.Process.Pid):              "",
		} {
			if strings.HasPrefix(target, "-") && call != "kill" {
				continue // only kill addresses groups by a negative number
			}
			if strings.Contains(target, "task") && strings.Contains("pidfd pidfd-group tgkill tgsigqueue", call) {
				continue // these take no lone thread
			}
			if target == fmt.Sprint(mate.Process.Pid) && call != "pidfd-group" {
				continue
			}
			hook := script(t, fmt.Sprintf("exec %s %s %s \"%s\"\n", self, verbKill, call, target))
			r, state := runAs(t, uid, hook, plainEnv, Options{Shield: true, Protect: []int{protected.Process.Pid}})
			if !state.Success() {
				t.Fatalf("%s %s: xexit ended with %v", call, target, state)
			}
			if !alive(t, protected) {
				t.Fatalf("%s %s: what is protected is dead", call, target)
			}
			if want == "" {
				if call == "pidfd-group" && string(r.Output) == "invalid argument\n" && len(r.Denied) == 0 {
					continue // before kernel 6.9 there is no such call
				}
				if string(r.Output) != "sent\n" || len(r.Denied) > 0 {
					t.Errorf("%s to another process: %q, denied %q", call, r.Output, r.Denied)
				}
				_ = free.Wait()
				continue
			}
			if string(r.Output) != "operation not permitted\n" || len(r.Denied) != 1 || !strings.HasSuffix(r.Denied[0], want) {
				t.Errorf("%s %s: %q, denied %q", call, target, r.Output, r.Denied)
			}
		}
	}
}

// TestAsking: signal 0 sends nothing and is let through, also for everybody.
func TestAsking(t *testing.T) {
	uid := privateUser(t)
	r, _ := runAs(t, uid, script(t, "kill -0 $PPID && kill -0 -1 && kill -0 0 && kill -CONT 0 && kill -0 $$\n"), plainEnv, Options{Shield: true})
	clean(t, r, 0)
}

// TestStorm: many threads and many processes send signals at once, some of
// them die of it while their call waits for an answer.
func TestStorm(t *testing.T) {
	uid := privateUser(t)
	self := selfCopy(t)
	r, _ := runAs(t, uid, script(t, fmt.Sprintf("exec %s %s storm 0\n", self, verbKill)), plainEnv, Options{Shield: true, Deadline: hang})
	clean(t, r, 0)
	if string(r.Output) != "calm\n" {
		t.Errorf("%q", r.Output)
	}
	r, _ = runAs(t, uid, script(t, `
		i=0
		while [ $i -lt 100 ]; do
			(while :; do kill -0 1; kill -USR1 -1; done) 2>/dev/null &
			kill -9 $! || exit 1
			wait $!
			i=$((i+1))
		done
		kill -9 $$
	`), plainEnv, Options{Shield: true, Deadline: hang})
	if r.Signal != syscall.SIGKILL || r.TimedOut || len(r.Denied) > maxDenied+1 {
		t.Errorf("%+v", r)
	}
	r, _ = runAs(t, uid, script(t, "i=0; while [ $i -lt 100 ]; do (kill -USR1 -1) 2>/dev/null; i=$((i+1)); done\n"), plainEnv, Options{Shield: true, Deadline: hang})
	if len(r.Denied) != maxDenied+1 || r.Denied[maxDenied] != "and 68 more" {
		t.Errorf("%d denied, the last %q", len(r.Denied), r.Denied[len(r.Denied)-1])
	}
}

// TestNested: below somebody else's listener the kernel refuses a second one.
// The hook runs without, and the result says so; the outer shield holds.
func TestNested(t *testing.T) {
	uid := privateUser(t)
	self := selfCopy(t)
	inner := script(t, "kill -9 -1; echo status $?\n")
	order := fmt.Sprintf(`{"UID":%d,"Path":%q,"Env":["PATH=/usr/bin:/bin","GORACE=atexit_sleep_ms=0"],"Options":{"Shield":true}}`, uid, inner)
	r, state := runAs(t, uid, script(t, fmt.Sprintf("exec %s %s '%s'\n", self, verbRun, order)), plainEnv, Options{Shield: true})
	if !state.Success() || r.Status != 0 {
		t.Fatalf("%v %+v %s", state, r, r.Output)
	}
	out := string(r.Output)
	if !strings.Contains(out, `"Unshielded":"seccomp: device or resource busy"`) || !strings.Contains(out, `"Status":0`) {
		t.Errorf("the inner run: %s", out)
	}
	if len(r.Denied) != 1 {
		t.Errorf("denied %q", r.Denied)
	}
}

// TestStageDies: a stage that cannot start, here by an environment that the
// runtime of this program refuses, costs the shield and not the hook.
func TestStageDies(t *testing.T) {
	r := Run(t.Context(), Spec{Path: script(t, "echo ran; exit 4\n")}, append(plainEnv, "GOMEMLIMIT=nonsense"), Options{Shield: true})
	if r.Unshielded != stageSilent || string(r.Output) != "ran\n" || r.Status != 4 {
		t.Errorf("%+v %s", r, r.Output)
	}
}

// TestAfterTheRun: once nobody answers any more, what a hook left behind can
// signal nobody: neither does it get through nor does it wait for ever.
func TestAfterTheRun(t *testing.T) {
	uid := privateUser(t)
	other := bystander(t, uid)
	dir := hookDir(t)
	must(t, os.Chown(dir, uid, uid))
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	must(t, os.Chown(fifo, uid, uid))
	hook := script(t, fmt.Sprintf("cd %s; setsid sh -c 'echo $$ >fifo; read x <fifo; kill -9 -1; echo $? >status' >/dev/null 2>&1 & read pid <%[1]s/fifo; echo $pid\n", dir))
	r, _ := runAs(t, uid, hook, plainEnv, Options{Shield: true})
	clean(t, r, 0)
	must(t, os.WriteFile(fifo, []byte("go\n"), 0))
	ended(t, number(t, r))
	if status, err := os.ReadFile(filepath.Join(dir, "status")); string(status) != "1\n" || !alive(t, other) {
		t.Errorf("status %q %v, bystander lives: %v", status, err, alive(t, other))
	}
}

// TestNoNewPrivs: for a user the shield takes set-id bits from what the hook
// starts; without the shield, or for root, nothing changes.
func TestNoNewPrivs(t *testing.T) {
	uid := privateUser(t)
	hook := script(t, "grep NoNewPrivs /proc/$$/status\n")
	for shield, want := range map[bool]string{true: "NoNewPrivs:\t1\n", false: "NoNewPrivs:\t0\n"} {
		if r, _ := runAs(t, uid, hook, plainEnv, Options{Shield: shield}); string(r.Output) != want {
			t.Errorf("shield %v: %q", shield, r.Output)
		}
		if r := Run(t.Context(), Spec{Path: hook}, plainEnv, Options{Shield: shield, Deadline: time.Minute}); string(r.Output) != "NoNewPrivs:\t0\n" {
			t.Errorf("root, shield %v: %q %+v", shield, r.Output, r)
		}
	}
}

func TestStageByHand(t *testing.T) {
	if status := StageMain(nil); status != 2 {
		t.Errorf("exit status %d", status)
	}
}

// TestShieldedAsUser: what root runs as a user without systemd and without
// control groups is behind the shield, too.
func TestShieldedAsUser(t *testing.T) {
	uid := privateUser(t)
	other := bystander(t, uid)
	hook := script(t, "id -u\nkill -KILL -1\necho status $?\n")
	r := Run(t.Context(), Spec{Path: hook}, plainEnv, Options{Shield: true, As: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}})
	if !alive(t, other) {
		t.Error("the bystander is dead")
	}
	if r.Status != 0 || r.Failed != "" || r.Unshielded != "" || len(r.Denied) != 1 || !strings.HasPrefix(string(r.Output), fmt.Sprintf("%d\n", uid)) {
		t.Errorf("%+v: %s", r, r.Output)
	}
}
