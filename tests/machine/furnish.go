package machine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Paths inside a machine.
const (
	Program    = "/usr/libexec/xexit-test/machine"
	Leftover   = "/usr/libexec/xexit-test/leftover"
	RootSocket = "/run/scenario/root.sock"
	Announce   = "/run/scenario/leftover.sock" // where leftovers say that they are ready
	Syslog     = "/run/scenario/syslog"

	DebianSnippets = "/etc/X11/Xsession.debian" // what package x11-common has in Xsession.d
)

// Users are the machine's people. The uids lie in the range of login.defs(5)
// that ordinary users have; no account of the host is needed or touched. guest
// is whoever sits at a terminal from which the others come in.
var Users = map[string]int{"root": 0, "system": 499, "alice": 21001, "bob": 21002, "guest": 21009}

// RootEnv is root's environment, and what all others' begins with.
func RootEnv() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "HOME=/root", "USER=root", "LOGNAME=root", "LANG=C.UTF-8"}
}

// Furnish makes the namespaces that the calling process is alone in a machine:
// the host's /usr and /etc with what was staged laid over them, all else fresh.
// The process's mount, pid, network, ipc and uts namespaces must be its own.
func Furnish() error {
	stage := os.Getenv("XEXIT_STAGE")
	base := os.Getenv("XEXIT_BASE")
	if stage == "" || base == "" {
		return errors.New("XEXIT_STAGE or XEXIT_BASE is not set")
	}
	unix.Umask(0) // what is made here has the mode that is asked for
	defer unix.Umask(0o022)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := mount("tmpfs", base, "mode=755"); err != nil {
		return err
	}
	for _, dir := range []string{"/usr", "/etc"} {
		if err := overlay(dir, stage+dir, base+dir); err != nil {
			return err
		}
	}
	if err := devices(base, "/dev"); err != nil {
		return err
	}
	for dir, options := range map[string]string{
		"/home": "mode=755", "/root": "mode=700", "/run": "mode=755", "/tmp": "mode=1777", "/var/tmp": "mode=1777", "/var/lib": "mode=755",
		"/opt": "mode=755", "/srv": "mode=755",
	} {
		if err := mount("tmpfs", dir, options); err != nil {
			return err
		}
	}
	if err := mount("proc", "/proc", ""); err != nil {
		return err
	}
	if err := People(); err != nil {
		return err
	}
	if err := startUp(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("lab")); err != nil {
		return err
	}
	// What is left of the host is for looking at.
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make the host's root read-only: %w", err)
	}
	return NetUp("lo", "")
}

// startUp leaves a session start-up with xexit and nothing else. Debian's own
// snippets, which make its Xsession start a session, are kept aside.
func startUp() error {
	if err := os.MkdirAll(DebianSnippets, 0o755); err != nil {
		return err
	}
	snippets, _ := filepath.Glob("/etc/X11/Xsession.d/*")
	for _, s := range snippets {
		var err error
		switch base := filepath.Base(s); {
		case base == "90xexit":
		case strings.Contains(base, "x11-common_"):
			err = os.Rename(s, filepath.Join(DebianSnippets, base))
		default: // of whatever else the host has
			err = os.Remove(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func mount(kind, dir, options string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, dir, err)
	}
	return nil
}

func overlay(dir, staged, upper string) error {
	for _, d := range []string{upper + "/up", upper + "/work", staged} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s/up,workdir=%s/work", staged, dir, upper, upper)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay %s: %w", dir, err)
	}
	return nil
}

// devices gives the machine a /dev of its own, so that /dev/log and its
// terminals are not the host's.
func devices(base, to string) error {
	dev := base + "/dev"
	if err := mount("tmpfs", dev, "mode=755"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "fuse"} {
		f, err := os.OpenFile(dev+"/"+name, os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return err
		}
		_ = f.Close()
		if err := unix.Mount("/dev/"+name, dev+"/"+name, "", unix.MS_BIND, ""); err != nil && name != "fuse" {
			return fmt.Errorf("bind /dev/%s: %w", name, err)
		}
	}
	if err := mount("devpts", dev+"/pts", "newinstance,ptmxmode=0666,mode=620"); err != nil {
		return err
	}
	if err := mount("tmpfs", dev+"/shm", "mode=1777"); err != nil {
		return err
	}
	for name, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, dev+"/"+name); err != nil {
			return err
		}
	}
	return unix.Mount(dev, to, "", unix.MS_MOVE, "")
}

// People writes the accounts, their homes and runtime directories: into
// namespaces of the caller's own, or as the first process of a machine.
func People() error {
	passwd, group := "", ""
	for name, uid := range Users {
		home := "/home/" + name
		if uid == 0 {
			home = "/root"
		}
		passwd += fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", name, uid, uid, home)
		group += fmt.Sprintf("%s:x:%d:\n", name, uid)
		for _, dir := range []string{home, fmt.Sprintf("/run/user/%d", uid)} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, uid, uid)); err != nil {
				return err
			}
		}
	}
	passwd += "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
	group += "tty:x:5:\nnogroup:x:65534:\n"
	if err := os.MkdirAll("/tmp/.X11-unix", 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/scenario", 0o755); err != nil {
		return err
	}
	passwd += "sshd:x:498:65534::/run/sshd:/usr/sbin/nologin\n" // what its unprivileged part runs as
	return errors.Join(
		os.Chmod("/tmp/.X11-unix", 0o777|os.ModeSticky),
		os.Chmod("/run/scenario", 0o777|os.ModeSticky),
		os.WriteFile("/etc/passwd", []byte(passwd), 0o644),
		os.WriteFile("/etc/group", []byte(group), 0o644),
		os.WriteFile("/etc/hostname", []byte("lab\n"), 0o644),
		os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost lab\n10.9.0.2 terminal\n"), 0o644),
		os.WriteFile("/etc/login.defs", []byte("UID_MIN 1000\nUID_MAX 60000\n"), 0o644),
	)
}

// NetUp brings a network interface up, with an IPv4 address of a /24 unless
// that is "".
func NetUp(name, address string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if address != "" {
		for _, set := range []struct {
			call  uint
			value netip.Addr
		}{{unix.SIOCSIFADDR, netip.MustParseAddr(address)}, {unix.SIOCSIFNETMASK, netip.AddrFrom4([4]byte{255, 255, 255, 0})}} {
			if err := request.SetInet4Addr(set.value.AsSlice()); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(fd, set.call, request); err != nil {
				return fmt.Errorf("address of %s: %w", name, err)
			}
		}
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("%s up: %w", name, err)
	}
	return nil
}
