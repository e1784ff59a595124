// Package cgroup reads and commands control groups of the unified hierarchy
// (cgroups(7), cgroup v2): who is in one, whether anybody is, and that all of
// them stop, go on or die at once. Which group is a session's, and whether
// somebody in it is to be spared, is for others; D-Bus is too.
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
)

// ErrGone reports a group that is no more.
var ErrGone = errors.New("the control group is gone")

// ErrNoHierarchy reports a host without a unified hierarchy.
var ErrNoHierarchy = errors.New("no unified control group hierarchy (cgroup2) is mounted")

// Tree is a mounted unified hierarchy.
type Tree struct{ root string }

// Mounted finds the hierarchy in a mount table (proc_pid_mountinfo(5)): at
// /sys/fs/cgroup, or beside the old ones at /sys/fs/cgroup/unified.
// ErrNoHierarchy: there is none.
func Mounted(mountinfo string) (Tree, error) {
	text, err := os.ReadFile(mountinfo)
	if err != nil {
		return Tree{}, fmt.Errorf("find the control groups: %w", err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		mount, kind, ok := strings.Cut(line, " - ")
		if fields := strings.Fields(mount); ok && len(fields) >= 5 && strings.HasPrefix(kind, "cgroup2 ") {
			// A mount of part of the hierarchy names its groups from there.
			if fields[3] == "/" {
				return Tree{unescape(fields[4])}, nil
			}
		}
	}
	return Tree{}, ErrNoHierarchy
}

// unescape undoes the octal escapes of a mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// At is the hierarchy below a directory.
func At(root string) Tree { return Tree{root} }

// Group is one control group with all below it. It stays the same group when
// another of its name is made. Close it. Not safe for concurrent use.
type Group struct {
	path string
	at   string // its directory
	dir  *os.Root
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
	return &Group{clean, t.Directory(name), dir}, nil
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
