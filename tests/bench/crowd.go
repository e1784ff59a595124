package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

const pidMax = "/proc/sys/kernel/pid_max"

// numbersFor raises kernel.pid_max (proc_sys_kernel(5)), if need be, so that a
// crowd of that size has process numbers. The whole host's limit is what counts.
// restore sets it back, and so does TERM, HUP or INT, of which this process ends.
func numbersFor(size int) (restore func() error, err error) {
	before, err := os.ReadFile(pidMax)
	if err != nil {
		return nil, err
	}
	wanted := size + size/10 + 20000
	if now, err := strconv.Atoi(strings.TrimSpace(string(before))); err != nil || now >= wanted {
		return func() error { return nil }, err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	restore = func() error {
		signal.Stop(interrupted)
		return os.WriteFile(pidMax, before, 0)
	}
	go func() {
		s := <-interrupted
		fmt.Fprintf(os.Stderr, "bench: %v; kernel.pid_max is set back: %v\n", s, restore())
		os.Exit(1)
	}()
	if err := os.WriteFile(pidMax, []byte(strconv.Itoa(wanted)), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("raise kernel.pid_max to %d: %w", wanted, err), restore())
	}
	return restore, nil
}

// noRoomFor says why so many processes cannot be made here.
func noRoomFor(size int) error {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return err
	}
	numbers, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if numbers < size+size/10+2000 {
		return fmt.Errorf("there are no more than %d process numbers (kernel.pid_max)", numbers)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	const each = 100 << 10
	if free := info.Freeram * uint64(info.Unit); free < uint64(size)*each {
		return fmt.Errorf("%d MB of memory are free, about %d are needed", free>>20, size*each>>20)
	}
	return nil
}

// surround makes a crowd of others in a machine, a tenth of them alice's, each
// user's with the audit ids of logins.
func surround(m *machine.Machine, size int) error {
	// The rivals run no exit scripts.
	if _, err := m.Root("sh", "-c", "rm -f /etc/Xexit.d/*"); err != nil {
		return err
	}
	for begun := 0; begun < size; begun += crowdAtOnce {
		// Bob's are nine in ten.
		n := min(crowdAtOnce, size-begun)
		if err := errors.Join(fill(m, "alice", n/10, begun), fill(m, "bob", n-n/10, begun)); err != nil {
			return err
		}
	}
	return nil
}

// crowdAtOnce is how many are waited for: on a busy machine it takes a while.
const crowdAtOnce = 2000

// fill adds some of one user to the crowd, and waits until they are there.
func fill(m *machine.Machine, user string, count, begun int) error {
	ready, uid := fmt.Sprintf("/run/scenario/crowd-%s-%d", user, begun), strconv.Itoa(machine.Users[user])
	if _, err := m.Spawn(machine.RootSocket, "", agent.Request{
		Argv: []string{"sh", "-c", `echo "$0" >/proc/self/loginuid && exec "$@"`, uid, crowdProgram, "other", ready, strconv.Itoa(count - 1), uid},
		Env:  machine.UserEnv(user), NewSession: true,
	}); err != nil {
		return err
	}
	return m.WaitFile(ready)
}
