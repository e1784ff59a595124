package vm

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"xexit/tests/machine"
	"xexit/tests/vm/guest"
)

// What the machine has of this one; and of its kernel, unless it is built in or
// was not fetched: the network's card, the graphics card's mode setting, and what
// sock_diag(7) is answered by.
var (
	programs = []string{
		"sh", "cat", "cut", "echo", "env", "grep", "id", "kill", "ls", "mkdir", "mount", "umount", "sleep", "tail", "setsid", "nohup", "perl", "pkill", "run-parts",
		"Xvfb", "xkbcomp", "xauth", "xprop",
	}
	modules = []string{"virtio_pci", "virtio_net", "bochs", "tcp_diag"}
)

const (
	xorg        = "/usr/lib/xorg/Xorg" // what is on PATH may be a wrapper
	xorgModules = "/usr/lib/xorg/modules"
	keymaps     = "/usr/share/X11/xkb"

	// Without input devices; with the driver named.
	xorgConfig = `Section "ServerFlags"
	Option "AutoAddDevices" "false"
	Option "AutoEnableDevices" "false"
	Option "AutoAddGPU" "false"
EndSection
Section "Device"
	Identifier "card"
	Driver "%s"
	Option "AccelMethod" "none"
EndSection
Section "Screen"
	Identifier "screen"
	Device "card"
EndSection
`
)

// KernelDir and OldKernelDir are where kernel.sh puts the machine's kernels,
// unpacked: Debian's, and the oldest that xexit is for.
const (
	KernelDir    = "/var/cache/xexit-test/kernel"
	OldKernelDir = "/var/cache/xexit-test/kernel-5.10"
)

// kernel finds the kernel below a directory.
func kernel(dir string) (string, error) {
	found, err := filepath.Glob(dir + "/boot/vmlinuz-*")
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("there must be one kernel in %s/boot, not %d (tests/vm/kernel.sh fetches it)", dir, len(found))
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// furnish writes the machine's file system: what was staged (machine.Stage),
// X servers, and a few of this machine's programs with their libraries.
func furnish(path, kernelDir, stage string) error {
	i, err := newImage(path)
	if err != nil {
		return err
	}
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "home", "root", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "var/log", "var/lib/xkb", "var/tmp"} {
		i.dir(dir)
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		i.link(dir, "usr/"+dir)
	}
	// As the kernel finds it, before anything is mounted.
	i.addAs(filepath.Join(stage, filepath.Dir(machine.Program), "vminit"), "init")
	i.tree(stage, "/")
	for _, program := range programs {
		file, err := exec.LookPath(program)
		i.fail(err)
		if err == nil {
			i.addProgram(file)
		}
	}
	i.add(xorg)
	for _, part := range []string{"extensions/libglx.so", "libshadow.so", "libfbdevhw.so"} {
		i.add(filepath.Join(xorgModules, part))
	}
	i.tree(keymaps, keymaps)
	for _, driver := range []string{"dummy", "modesetting"} {
		i.add(filepath.Join(xorgModules, "drivers", driver+"_drv.so"))
		i.text("/etc/X11/"+driver+".conf", 0o644, fmt.Appendf(nil, xorgConfig, driver))
	}
	i.dir(guest.Modules)
	for _, name := range modules {
		i.module(kernelDir, name)
	}
	return i.close()
}

// addProgram puts a program where the machine's PATH has it, whichever of its
// names it was found by.
func (i *image) addProgram(file string) {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		i.fail(err)
		return
	}
	i.add(real)
	if place := "/usr/bin/" + filepath.Base(file); real != place {
		i.link(place, real)
	}
}

// module adds a kernel module and what it depends on; none if it is built in.
func (i *image) module(kernelDir, name string) {
	place := guest.Modules + "/" + name + ".ko"
	if i.names[strings.TrimPrefix(place, "/")] || i.err != nil {
		return
	}
	err := filepath.WalkDir(kernelDir+"/lib/modules", func(path string, d fs.DirEntry, err error) error {
		base, _, _ := strings.Cut(filepath.Base(path), ".")
		if err != nil || d.IsDir() || strings.ReplaceAll(base, "-", "_") != name {
			return err
		}
		text, needs, err := module(path)
		if err != nil {
			return err
		}
		i.text(place, 0o644, text)
		for _, other := range needs {
			i.module(kernelDir, strings.ReplaceAll(other, "-", "_"))
		}
		return i.err
	})
	i.fail(err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Needs says why there can be no such machine here, "" if there can.
func Needs(kernelDir string) string {
	for _, program := range append([]string{"qemu-system-x86_64", "ldd"}, programs...) {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed (tests/setup.sh installs it)"
		}
	}
	for _, file := range []string{xorg, xorgModules + "/drivers/dummy_drv.so", keymaps} {
		if !exists(file) {
			return strings.TrimPrefix(file, "/") + " is not installed (tests/setup.sh installs it)"
		}
	}
	if _, err := kernel(kernelDir); err != nil {
		return err.Error()
	}
	return ""
}
