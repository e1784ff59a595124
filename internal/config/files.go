package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxFile bounds one file, in bytes.
const maxFile = 1 << 20

// source is one file's text.
type source struct {
	name    string
	content []byte
}

// read reads the files that paths names. What cannot be used is a problem.
func (d *decoder) read(paths Paths) []source {
	var all []source
	add := func(name string, optional bool) {
		content, err := d.readFile(name, paths.System)
		switch {
		case optional && errors.Is(err, os.ErrNotExist):
		case err != nil:
			d.problemWith(name, err)
		default:
			all = append(all, source{name, content})
		}
	}
	if paths.System {
		d.checkDir(filepath.Dir(paths.File))
	}
	if paths.File != "" {
		add(paths.File, paths.System)
	}
	if paths.Dir == "" {
		return all
	}
	entries, err := os.ReadDir(paths.Dir) // sorted by name
	if errors.Is(err, os.ErrNotExist) {
		return all
	}
	if err != nil {
		d.problemWith(paths.Dir, err)
		return all
	}
	if paths.System {
		d.checkDir(paths.Dir)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, "."):
		case strings.HasSuffix(name, ".toml"):
			add(filepath.Join(paths.Dir, name), false)
		case !leftover(name):
			d.config.Warnings = append(d.config.Warnings, Warning{
				Position: Position{File: filepath.Join(paths.Dir, name)},
				What:     "not read", Remedy: "only files whose names end in .toml are; rename or remove it",
			})
		}
	}
	return all
}

// leftover reports whether an editor or a package manager left the file.
func leftover(name string) bool {
	for _, part := range []string{".dpkg-", ".rpm", ".ucf-"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return strings.HasSuffix(name, "~") || strings.HasSuffix(name, ".bak") || strings.HasSuffix(name, ".swp")
}

// refusal is a file that must not be used as it is.
type refusal struct{ what, remedy string }

func (r *refusal) Error() string { return r.what }

// readFile reads a file that nobody but its owner can change. The check is
// made on what was opened, not on the name. Nothing that is no regular file is
// waited for.
func (d *decoder) readFile(name string, system bool) (content []byte, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &refusal{"not a regular file", "give the path of a file"}
	}
	if err := ownedAndClosed(name, info, system, uint32(os.Getuid())); err != nil {
		return nil, err
	}
	content, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = &refusal{fmt.Sprintf("longer than %d bytes", maxFile), "is this a configuration file?"}
	}
	return content, err
}

// ownedAndClosed refuses what somebody other than root, or than the caller self
// where the file is not the system's, could have written.
func ownedAndClosed(name string, info os.FileInfo, system bool, self uint32) error {
	if bits := info.Mode().Perm() & 0o022; bits != 0 {
		return &refusal{fmt.Sprintf("others can write to it (mode %04o)", info.Mode().Perm()), "chmod go-w " + name}
	}
	owner, ok := ownerOf(info)
	switch {
	case ok && owner == 0, ok && !system && owner == self:
		return nil
	case system:
		return &refusal{fmt.Sprintf("belongs to uid %d and not to root", owner), "chown root " + name}
	}
	return &refusal{fmt.Sprintf("belongs to uid %d, neither to you nor to root", owner), "use a copy of your own"}
}

func ownerOf(info os.FileInfo) (uid uint32, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return stat.Uid, true
}

// checkDir refuses a directory in which somebody else could put a file.
func (d *decoder) checkDir(dir string) {
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err == nil {
		err = ownedAndClosed(dir, info, true, 0)
	}
	if err != nil {
		d.problemWith(dir, err)
	}
}

// problemWith reports a file as a whole.
func (d *decoder) problemWith(name string, err error) {
	p := Problem{Position: Position{File: name}}
	var r *refusal
	var path *os.PathError
	switch {
	case errors.As(err, &r):
		p.What, p.Remedy = r.what, r.remedy
	case errors.Is(err, os.ErrNotExist):
		p.What, p.Remedy = "no such file", "check the path"
	case errors.Is(err, os.ErrPermission):
		p.What, p.Remedy = "cannot be read: permission denied", "chmod a+r "+name
	case errors.As(err, &path):
		p.What = "cannot be read: " + path.Err.Error()
	default:
		p.What = "cannot be read: " + err.Error()
	}
	d.problems = append(d.problems, p)
}
