package guest

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// into has a program, not started yet, be in the control group. What is returned
// stays open until it is started. A group of version 1 (cgroups(7)) cannot be
// given to clone(2): a shell enters it, by a file that root has opened, and
// becomes the program.
func (c Command) into(cmd *exec.Cmd) (*os.File, error) {
	if _, err := os.Stat(c.Group + "/cgroup.events"); err == nil {
		dir, err := os.Open(c.Group)
		if err == nil {
			cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		}
		return dir, err
	}
	procs, err := os.OpenFile(c.Group+"/cgroup.procs", os.O_WRONLY, 0)
	if err == nil {
		cmd.ExtraFiles = []*os.File{procs}
		cmd.Args = append([]string{"sh", "-c", `echo 0 >&3 && exec "$@" 3>&-`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/sh"
	}
	return procs, err
}

// Mount is a file system that the machine gets beside those that it begins with.
type Mount struct{ Kind, Dir, Options string }

// Mount mounts one, in a directory that is made for it.
func (g *Guest) Mount(m Mount, _ *bool) error {
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return err
	}
	return os.NewSyscallError("mount "+m.Dir, unix.Mount(m.Kind, m.Dir, m.Kind, 0, m.Options))
}

// Unmount unmounts one, with what is mounted in it.
func (g *Guest) Unmount(dir string, _ *bool) error {
	return os.NewSyscallError("umount "+dir, unix.Unmount(dir, unix.MNT_DETACH))
}

// MakeDir makes a directory and those above it: a control group, say.
func (g *Guest) MakeDir(dir string, _ *bool) error { return os.MkdirAll(dir, 0o755) }

// Names lists a directory; nothing if there is none.
func (g *Guest) Names(dir string, names *[]string) error {
	*names = []string{}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		*names = append(*names, e.Name())
	}
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
