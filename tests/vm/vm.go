// Package vm runs xexit in emulated machines: a real suspend, Xorg on virtual
// terminals, and kernels older than this machine's. A machine is qemu with
// its own emulation of a processor (nothing of the host's kernel is needed, and
// it is the same everywhere), a kernel of Debian's and an initramfs made
// of this machine's programs. One boot serves all checks of a kernel. Booting and asking
// the machine belong into the files of this package that are no tests; what
// runs inside belongs to package guest.
package vm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"xexit/tests/vm/guest"
)

// Guard bounds every wait: reached only when something hangs. An emulated
// processor on a busy machine is slow.
const Guard = 2 * time.Minute

// Machine is the emulated machine.
type Machine struct {
	qemu    *exec.Cmd
	exited  chan struct{}
	client  *rpc.Client
	monitor *monitor
	console string // file: what the kernel said
}

// Boot starts the machine with what lies in stage (machine.Stage, and vminit
// beside machine) and returns when it can be asked. dir is an empty directory
// for its use.
func Boot(kernelDir, stage, dir string) (*Machine, error) {
	image, err := kernel(kernelDir)
	if err != nil {
		return nil, err
	}
	initrd := filepath.Join(dir, "initrd")
	if err := furnish(initrd, kernelDir, stage); err != nil {
		return nil, fmt.Errorf("make the machine's file system: %w", err)
	}
	m := &Machine{exited: make(chan struct{}), console: filepath.Join(dir, "console")}
	line, lineEnd, err := pair()
	if err != nil {
		return nil, err
	}
	control, controlEnd, err := pair()
	if err != nil {
		return nil, errors.Join(err, line.Close(), lineEnd.Close())
	}
	m.qemu = exec.Command("qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "std",
		"-machine", "pc,hpet=off", "-accel", "tcg", "-cpu", "max", "-m", "768", "-rtc", "base=utc",
		"-kernel", image, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 no_console_suspend",
		"-chardev", "file,id=console,path="+m.console, "-serial", "chardev:console",
		"-chardev", "socket,id=line,fd=3", "-serial", "chardev:line",
		"-chardev", "socket,id=control,fd=4", "-mon", "chardev=control,mode=control",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,id=card,romfile=",
	)
	m.qemu.ExtraFiles = []*os.File{lineEnd, controlEnd}
	m.qemu.Stderr = os.Stderr
	m.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = m.qemu.Start()
	_, _ = lineEnd.Close(), controlEnd.Close()
	if err != nil {
		return nil, errors.Join(err, line.Close(), control.Close())
	}
	go func() {
		_ = m.qemu.Wait() // Stop tells how it ended
		close(m.exited)
	}()
	if err := m.greet(line, control); err != nil {
		return nil, errors.Join(err, m.Stop(), errors.New(m.Console()))
	}
	return m, nil
}

// greet waits until the machine and qemu's monitor are there.
func (m *Machine) greet(line, control net.Conn) (err error) {
	m.monitor = &monitor{conn: control, lines: json.NewDecoder(bufio.NewReader(control))}
	if err := m.monitor.run("qmp_capabilities", nil); err != nil {
		return err
	}
	if err := line.SetReadDeadline(time.Now().Add(Guard)); err != nil {
		return err
	}
	const ready = "ready\n"
	said := make([]byte, len(ready))
	for i := range said { // no more than that: the rest is the protocol's
		if _, err := line.Read(said[i : i+1]); err != nil {
			return fmt.Errorf("the machine does not come up: %w", err)
		}
	}
	if string(said) != ready {
		return fmt.Errorf("the machine said %q", said)
	}
	m.client = jsonrpc.NewClient(line)
	return line.SetReadDeadline(time.Time{})
}

// pair makes two ends of a connection: ours, and a file for a child.
func pair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// Stop powers the machine off, and ends it where it does not do that itself.
func (m *Machine) Stop() error {
	if m.client != nil {
		_ = m.Ask("PowerOff", true, new(bool)) // the answer may be lost
		defer m.client.Close()
	}
	off := time.NewTimer(Guard / 4)
	defer off.Stop()
	select {
	case <-m.exited:
	case <-off.C:
		_ = m.qemu.Process.Kill()
		<-m.exited
		return errors.New("the machine did not power off")
	}
	if status := m.qemu.ProcessState.ExitCode(); status != 0 {
		return fmt.Errorf("qemu: exit status %s", strconv.Itoa(status))
	}
	return nil
}

// Console is what the machine's kernel said.
func (m *Machine) Console() string {
	text, _ := os.ReadFile(m.console)
	return string(text)
}

// Ask calls a method of guest.Guest.
func (m *Machine) Ask(method string, args, reply any) error { return m.ask(Guard, method, args, reply) }

func (m *Machine) ask(guard time.Duration, method string, args, reply any) error {
	hang := time.NewTimer(guard)
	defer hang.Stop()
	call := m.client.Go("Guest."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		if call.Error != nil {
			return fmt.Errorf("in the machine: %s: %w", method, call.Error)
		}
		return nil
	case <-m.exited:
		return fmt.Errorf("in the machine: %s: it is gone", method)
	case <-hang.C:
		return fmt.Errorf("in the machine: hang guard: no answer to %s after %v", method, guard)
	}
}

// Suspend puts the machine to sleep for that long: until its own alarm, or,
// from suspend-to-idle, until a key is pressed. (The alarm interrupts by way of
// ACPI there, which qemu does not emulate for a machine that is powered.)
func (m *Machine) Suspend(state string, d time.Duration) (guest.Slept, error) {
	s := guest.Sleep{State: state}
	if state == "freeze" {
		key := time.AfterFunc(d, func() {
			_ = m.monitor.run("send-key", map[string]any{"keys": []any{map[string]string{"type": "qcode", "data": "shift"}}})
		})
		defer key.Stop()
	} else {
		s.Alarm = d
	}
	var r guest.Slept
	return r, m.ask(d+Guard, "Sleep", s, &r)
}

// Link plugs the machine's network cable in, or pulls it.
func (m *Machine) Link(up bool) error {
	return m.monitor.run("set_link", map[string]any{"name": "card", "up": up})
}
