package guest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// What the image of the machine and the machine agree on.
const (
	Modules = "/lib/test-modules" // kernel modules
	Address = "10.0.2.15"         // of the machine, in qemu's user network
	Host    = "10.0.2.2"          // where that network has the host's loopback
)

// Serial is the line that the tests talk on; the first is the kernel's console.
const serial = "/dev/ttyS1"

// First makes the machine fit to live in, starts the server, and collects
// orphans until the server has ended, which is an error.
func First() error {
	if err := errors.Join(mounts(), modules(), machine.People(), machine.NetUp("lo", ""), machine.NetUp("eth0", Address)); err != nil {
		return err
	}
	for _, path := range []string{"/usr", "/etc", "/"} { // the image's directories may have any mode
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
	}
	server := exec.Command("/proc/self/exe", "serve")
	server.Env = machine.RootEnv()
	server.Stdout, server.Stderr = os.Stdout, os.Stderr
	if err := server.Start(); err != nil {
		return err
	}
	for {
		switch pid, err := syscall.Wait4(-1, nil, 0, nil); {
		case pid == server.Process.Pid:
			return errors.New("the server has ended")
		case err != nil && !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("wait: %w", err)
		}
	}
}

func mounts() error {
	unix.Umask(0o022)
	for _, m := range []struct{ kind, dir, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"tmpfs", "/run", "mode=755"},
		{"tmpfs", "/tmp", "mode=1777"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	return unix.Sethostname([]byte("lab"))
}

// modules loads what is there. Which needs which differs between kernels: those
// that cannot be loaded yet are tried again as long as others could.
func modules() error {
	left, err := filepath.Glob(Modules + "/*.ko")
	if err != nil {
		return err
	}
	for before := -1; len(left) != before; {
		before = len(left)
		var failed []string
		var why error
		for _, file := range left {
			text, err := os.ReadFile(file)
			if err == nil {
				err = unix.InitModule(text, "")
			}
			if err != nil && !errors.Is(err, unix.EEXIST) {
				failed = append(failed, file)
				why = errors.Join(why, fmt.Errorf("load %s: %w", file, err))
			}
		}
		left = failed
		if len(left) == 0 {
			return nil
		}
		if len(left) == before {
			return why
		}
	}
	return nil
}
