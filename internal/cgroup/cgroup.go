// Package cgroup reads and commands control groups (cgroups(7)): who is in one,
// whether anybody is, and that all of them stop, go on or die at once. They are
// those of the unified hierarchy (v2), or where there is none those of systemd's
// own (v1), whose members are stopped by the freezer of v1. Which group is a
// session's, and whether somebody in it is to be spared, is for others; D-Bus is too.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"xexit/internal/linux"
)

// ErrGone reports a group that is no more.
var ErrGone = errors.New("the control group is gone")

// ErrNoHierarchy reports a host without a hierarchy that names logins.
var ErrNoHierarchy = errors.New("no unified control group hierarchy (cgroup2) is mounted, nor one of systemd's")

// Tree is a mounted hierarchy.
type Tree struct {
	root string
	old  *old // nil: the unified one
}

// Mounted finds the hierarchy by the mount table of this process, below the root
// of a proc(5): the unified one at /sys/fs/cgroup, or beside the old ones at
// /sys/fs/cgroup/unified, or systemd's own of version 1.
// ErrNoHierarchy: there is none.
func Mounted(proc string) (Tree, error) {
	mounts, err := linux.ReadCgroupMounts(path.Join(proc, "self/mountinfo"))
	switch {
	case err != nil:
		return Tree{}, fmt.Errorf("find the control groups: %w", err)
	case mounts.Unified != "":
		return Tree{root: mounts.Unified}, nil
	case mounts.Systemd != "":
		return Tree{mounts.Systemd, &old{proc: proc, freezer: mounts.Freezer}}, nil
	}
	return Tree{}, ErrNoHierarchy
}

// At is the unified hierarchy below a directory.
func At(root string) Tree { return Tree{root: root} }

// Version of the hierarchy, 2 or 1; freezes tells whether a group of it can be
// stopped as one.
func (t Tree) Version() (version int, freezes bool) {
	if t.old == nil {
		return 2, true
	}
	return 1, t.old.freezer != ""
}

// Group is one control group with all below it. It stays the same group when
// another of its name is made. Close it. Not safe for concurrent use.
type Group struct {
	path string
	at   string // its directory
	dir  *os.Root
	old  *old // nil: of the unified hierarchy
}

// Open opens the group that has a path as in /proc/PID/cgroup. The root of the
// hierarchy, which holds everybody, is refused. ErrGone: there is none.
func (t Tree) Open(name string) (*Group, error) {
	clean := path.Clean("/" + name)
	if clean == "/" || clean != "/"+strings.Trim(name, "/") {
		return nil, fmt.Errorf("open control group %q: not the path of a group", name)
	}
	dir, err := os.OpenRoot(t.Directory(name))
	if err != nil {
		return nil, fmt.Errorf("open control group %s: %w", clean, gone(err))
	}
	return &Group{clean, t.Directory(name), dir, t.old}, nil
}

// Make makes a group of that path, below one that exists, and opens it.
func (t Tree) Make(name string) (*Group, error) {
	if err := os.Mkdir(t.Directory(name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make control group %s: %w", name, err)
	}
	return t.Open(name)
}

// MakeNew makes a group of that path, and what is missing above it. One that
// is there already is fs.ErrExist.
func (t Tree) MakeNew(name string) error {
	dir := t.Directory(name)
	err := os.MkdirAll(path.Dir(dir), 0o755)
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return fmt.Errorf("make control group %s: %w", name, err)
	}
	return nil
}

// Remove removes a group and those below it. EBUSY: somebody lives in one of
// them. One that is gone is no error.
func (t Tree) Remove(name string) error {
	g, err := t.Open(name)
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	err = g.removeBelow(".", 0)
	if err = errors.Join(err, g.Close()); err == nil {
		err = os.Remove(t.Directory(name))
	}
	if err != nil && !errors.Is(gone(err), ErrGone) {
		return fmt.Errorf("remove control group %s: %w", name, err)
	}
	return nil
}

func (g *Group) removeBelow(dir string, depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("nested more than %d deep", maxDepth)
	}
	entries, err := g.entries(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		below := path.Join(dir, e.Name())
		if err := g.removeBelow(below, depth+1); err != nil {
			return err
		}
		if err := g.dir.Remove(below); err != nil && !errors.Is(gone(err), ErrGone) {
			return err
		}
	}
	return nil
}

// Enter moves a process into the group; what it starts from now on is born
// there. For root.
func (g *Group) Enter(pid int) error { return g.write("cgroup.procs", strconv.Itoa(pid)) }

// OpenDir opens its directory, by which a process can be born in the group
// (CLONE_INTO_CGROUP, clone(2), kernel 5.7).
func (g *Group) OpenDir() (*os.File, error) {
	f, err := g.dir.Open(".")
	if err != nil {
		return nil, fmt.Errorf("control group %s: %w", g.path, gone(err))
	}
	return f, nil
}

// Directory is where the hierarchy has the group of that path.
func (t Tree) Directory(name string) string { return t.root + path.Clean("/"+name) }

// EnterRoot moves the calling process to the root of the hierarchy, out of
// whatever group it is in. For root.
func (t Tree) EnterRoot() error {
	err := os.WriteFile(path.Join(t.root, "cgroup.procs"), []byte("0"), 0)
	if err != nil {
		return fmt.Errorf("leave the control group: %w", err)
	}
	return nil
}

// Path is the group's, as in /proc/PID/cgroup.
func (g *Group) Path() string { return g.path }

// Close lets go of the group, which is not changed by it.
func (g *Group) Close() error { return g.dir.Close() }

// Remove removes the group, which must be empty; or one that was made in its
// place, if that is empty. One that is gone already is no error.
func (g *Group) Remove() error {
	if err := os.Remove(g.at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control group %s: %w", g.path, err)
	}
	return nil
}

// Populated reports whether a process lives in the group or below it. Zombies
// do not count.
func (g *Group) Populated() (bool, error) {
	if g.old != nil {
		pids, err := g.PIDs()
		return len(pids) > 0, err
	}
	text, err := g.read("cgroup.events")
	if errors.Is(err, ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	v, ok := event(text, "populated")
	if !ok {
		return false, fmt.Errorf("control group %s: no 'populated' in cgroup.events", g.path)
	}
	return v, nil
}

// event is one value of cgroup.events.
func event(text []byte, key string) (value, ok bool) {
	for line := range bytes.Lines(text) {
		if rest, found := bytes.CutPrefix(bytes.TrimSpace(line), []byte(key+" ")); found {
			return string(rest) == "1", true
		}
	}
	return false, false
}

// PIDs lists the processes in the group and below it, as numbers to be looked
// at: only a reference that is verified against a second list means one of
// them. A process that moves meanwhile may be missing, or be there twice.
func (g *Group) PIDs() ([]int, error) { return g.list(".", nil, 0) }

// maxDepth bounds the walk; a user who was delegated a group can nest more.
const maxDepth = 64

func (g *Group) list(dir string, pids []int, depth int) ([]int, error) {
	text, err := g.read(path.Join(dir, "cgroup.procs"))
	switch {
	case errors.Is(err, ErrGone):
		return pids, nil
	case errors.Is(err, syscall.EOPNOTSUPP): // a threaded group: its processes are listed above it
	case err != nil:
		return pids, err
	}
	for line := range bytes.Lines(text) {
		pid, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		if err != nil {
			return pids, fmt.Errorf("control group %s: %w", g.path, err)
		}
		if pid > 0 { // 0: in no pid namespace of ours
			pids = append(pids, pid)
		}
	}
	if depth == maxDepth {
		return pids, fmt.Errorf("control group %s: nested more than %d deep", g.path, maxDepth)
	}
	entries, err := g.entries(dir)
	if err != nil {
		return pids, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if pids, err = g.list(path.Join(dir, e.Name()), pids, depth+1); err != nil {
			return pids, err
		}
	}
	return pids, nil
}

func (g *Group) entries(dir string) ([]fs.DirEntry, error) {
	f, err := g.dir.Open(dir)
	if err != nil {
		if errors.Is(gone(err), ErrGone) {
			return nil, nil
		}
		return nil, fmt.Errorf("control group %s: %w", g.path, err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil && !errors.Is(gone(err), ErrGone) {
		return nil, fmt.Errorf("control group %s: %w", g.path, err)
	}
	return entries, nil
}

func (g *Group) read(name string) ([]byte, error) {
	text, err := g.dir.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("control group %s: %w", g.path, gone(err))
	}
	return text, nil
}

func (g *Group) write(name, value string) error {
	f, err := g.dir.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("control group %s: %w", g.path, err)
	}
	return nil
}

// gone makes ErrGone of what the kernel says of a group that was removed.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("%w (%w)", ErrGone, err)
	}
	return err
}
