package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Groups says which control groups a machine without systemd has mounted.
type Groups string

// The kinds.
const (
	UnifiedGroups Groups = "unified" // version 2, at /sys/fs/cgroup
	OldGroups     Groups = "old"     // version 1 alone, at /sys/fs/cgroup/old
)

// BootBare makes a machine of the Debian 12 tree that no systemd runs: its
// first process is the tests' own and only reaps. There is no logind and no
// D-Bus; of services there are those that Root starts, as by
// `/etc/init.d/ssh start`. What is staged lies over the tree, and all that is
// written is gone when it stops.
func BootBare(stage string, groups Groups) (m *Machine, err error) {
	m = &Machine{known: make(map[string][]*Ref), terminals: make(map[string]*Terminal), changed: make(chan struct{})}
	dir, err := os.MkdirTemp("/var/tmp", "xexit-bare-")
	if err != nil {
		return nil, err
	}
	m.base = filepath.Join(dir, "base")
	group, err := unifiedGroup(filepath.Base(dir))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if m.halt, err = guard(group, dir); err != nil {
		return nil, errors.Join(err, os.Remove(group), os.RemoveAll(dir))
	}
	if err := m.bare(group, stage, groups); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	if err := errors.Join(m.WaitFile(RootSocket), m.hear()); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

func (m *Machine) bare(group, stage string, groups Groups) error {
	if err := os.Mkdir(m.base, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(group)
	if err != nil {
		return err
	}
	defer dir.Close()
	m.init = exec.Command(stage+Program, "bare")
	m.init.Env = append(RootEnv(), "XEXIT_STAGE="+stage, "XEXIT_BASE="+m.base, "XEXIT_GROUPS="+string(groups))
	m.init.Stderr = os.Stderr
	m.init.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Setsid:     true, UseCgroupFD: true, CgroupFD: int(dir.Fd()),
	}
	stdin, err := m.init.StdinPipe()
	if err != nil {
		return err
	}
	m.stdin = stdin
	if err := m.init.Start(); err != nil {
		return fmt.Errorf("start a machine: %w", err)
	}
	m.first = m.init.Process.Pid
	go func() { _ = m.init.Wait() }()
	return nil
}

// FurnishBare makes the namespaces of the calling thread such a machine.
func FurnishBare() error {
	stage, base := os.Getenv("XEXIT_STAGE"), os.Getenv("XEXIT_BASE")
	if stage == "" || base == "" {
		return errors.New("XEXIT_STAGE or XEXIT_BASE is not set")
	}
	unix.Umask(0) // what is made here has the mode that is asked for
	defer unix.Umask(0o022)
	// The group that we are in is the root of what is mounted here. A hierarchy of
	// version 1 cannot be made in there.
	if groupsWanted() == UnifiedGroups {
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("unshare the control groups: %w", err)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := base + "/root"
	if err := errors.Join(mount("tmpfs", base, "mode=755"), os.Mkdir(root, 0o755)); err != nil {
		return err
	}
	for _, dir := range []string{base + "/up", base + "/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s/up,workdir=%s/work", stage, Debian12, base, base)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay %s: %w", root, err)
	}
	for dir, mode := range map[string]string{"/run": "mode=755", "/tmp": "mode=1777", "/sys": "mode=755"} {
		if err := mount("tmpfs", root+dir, mode); err != nil {
			return err
		}
	}
	if err := errors.Join(mount("proc", root+"/proc", ""), devices(base, root+"/dev"), groups(root+"/sys/fs/cgroup")); err != nil {
		return err
	}
	if err := errors.Join(becomeRoot(root), unix.Sethostname([]byte("lab")), NetUp("lo", "")); err != nil {
		return err
	}
	return errors.Join(
		os.Mkdir("/run/sshd", 0o755), os.Mkdir("/run/scenario", 0o777), os.Chmod("/run/scenario", 0o777|os.ModeSticky),
		os.WriteFile("/run/utmp", nil, 0o644), os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost lab\n"), 0o644),
	)
}

// becomeRoot makes a mounted directory the root of the thread's mount namespace,
// also below a chroot(2), which would let nobody make a user namespace.
func becomeRoot(dir string) error {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	own, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the mount namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(own, unix.CLONE_NEWNS); err != nil { // its root is ours then
		return fmt.Errorf("setns: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make / private: %w", err)
	}
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return errors.Join(unix.Fchdir(root), unix.Chroot("."))
}

func groupsWanted() Groups { return Groups(os.Getenv("XEXIT_GROUPS")) }

func groups(at string) error {
	if groupsWanted() == UnifiedGroups {
		return mount("cgroup2", at, "")
	}
	if err := mount("tmpfs", at, "mode=755"); err != nil {
		return err
	}
	return mount("cgroup", at+"/old", "none,name=xexit-"+strings.TrimPrefix(filepath.Base(filepath.Dir(os.Getenv("XEXIT_BASE"))), "xexit-bare-"))
}
