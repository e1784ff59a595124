package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"xexit/internal/policy"
)

// maxEntries bounds how many directory entries one pattern may look at.
const maxEntries = 50_000

// found is an executable that a pattern stands for.
type found struct {
	path     string
	dev, ino uint64
}

// finding collects what one pattern stands for, and why not more.
type finding struct {
	machine machine
	seen    int // directory entries looked at
	full    bool
	files   []found
	refused []refused
}

// refused is a file or directory that cannot count.
type refused struct{ path, what, remedy string }

// find resolves a program's path or pattern on this machine. A path is
// followed through symbolic links, a pattern follows none: whoever writes a
// pattern does not know what the links below it lead to.
func (m machine) find(pattern string) *finding {
	f := &finding{machine: m}
	dir, first := literal(pattern)
	if first == "" {
		f.one(pattern)
		return f
	}
	real, info, err := m.follow(dir)
	if err == nil && info.IsDir() && !m.trusts(real) {
		err = m.safe(real, info)
	}
	switch {
	case err != nil:
		f.refuse(dir, err)
	case !info.IsDir():
		f.refused = append(f.refused, refused{dir, "is no directory", "name a directory before the first *"})
	default:
		rest := strings.Split(strings.TrimPrefix(strings.TrimPrefix(pattern, dir), "/"), "/")
		f.walk(real, rest)
	}
	return f
}

func (f *finding) refuse(name string, err error) {
	var r *refusal
	switch {
	case errors.As(err, &r):
		f.refused = append(f.refused, refused{name, r.what, r.remedy})
	case errors.Is(err, fs.ErrNotExist):
		f.refused = append(f.refused, refused{name, "does not exist here", "correct the path, or install the program"})
	default:
		f.refused = append(f.refused, refused{name, "cannot be looked at: " + reason(err), ""})
	}
}

// reason is a file error without its path, which is said already.
func reason(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// one takes a single path.
func (f *finding) one(name string) {
	real, info, err := f.machine.follow(name)
	switch {
	case err != nil:
		f.refuse(name, err)
	case info.IsDir():
		f.refused = append(f.refused, refused{name, "is a directory", fmt.Sprintf("for all programs below it write %q", name+"/**")})
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		f.refused = append(f.refused, refused{name, "is not executable", "name the program's executable"})
	default:
		f.take(name, real, info)
	}
}

// take adds an executable file if only root can have made it what it is.
func (f *finding) take(name, real string, info fs.FileInfo) {
	if err := f.machine.safe(real, info); err != nil {
		f.refuse(name, err)
		return
	}
	if s := readScript(real); s != nil {
		f.refused = append(f.refused, s.refused(f.machine, name))
		return
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		f.files = append(f.files, found{real, uint64(stat.Dev), stat.Ino})
	}
}

// walk takes the files below dir, which was found safe, that match the parts
// of a pattern.
func (f *finding) walk(dir string, parts []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.refuse(dir, err)
		return
	}
	deep := parts[0] == "**"
	last := len(parts) == 1
	if deep && !last {
		f.walk(dir, parts[1:])
	}
	for _, e := range entries {
		if f.seen++; f.seen > maxEntries {
			f.full = true
			return
		}
		matches, _ := path.Match(parts[0], e.Name()) // only stars: never malformed
		name := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && deep:
			f.into(name, parts)
		case e.IsDir() && matches && !last:
			f.into(name, parts[1:])
		case e.Type().IsRegular() && last && (deep || matches):
			if info, err := e.Info(); err == nil && info.Mode().Perm()&0o111 != 0 {
				f.takeQuietly(name, info)
			}
		}
	}
}

// takeQuietly is take for a file that was not named: scripts are no mistake there.
func (f *finding) takeQuietly(name string, info fs.FileInfo) {
	if readScript(name) == nil {
		f.take(name, name, info)
	}
}

func (f *finding) into(dir string, parts []string) {
	info, err := os.Lstat(dir)
	if err == nil {
		err = f.machine.safe(dir, info)
	}
	if err != nil {
		f.refuse(dir, err)
		return
	}
	f.walk(dir, parts)
}

// safe refuses a file or directory that somebody other than root can change.
func (m machine) safe(name string, info fs.FileInfo) error {
	if owner, ok := ownerOf(info); !ok || owner != m.owner {
		return &refusal{fmt.Sprintf("belongs to uid %d: its owner could put anything there", owner), "chown root " + name}
	}
	if info.Mode().Perm()&0o022 != 0 {
		return &refusal{fmt.Sprintf("others can write to it (mode %04o)", info.Mode().Perm()), "chmod go-w " + name}
	}
	return nil
}

// trusts reports whether a directory is one of those taken to be safe.
func (m machine) trusts(dir string) bool {
	return m.above != "" && strings.HasPrefix(m.above+"/", strings.TrimSuffix(dir, "/")+"/")
}

// follow resolves the symbolic links of an absolute path one by one and
// refuses a path on which somebody other than root could have put a link: the
// way to a file must be as safe as the file (path_resolution(7)).
func (m machine) follow(name string) (real string, info fs.FileInfo, err error) {
	at, left := "/", strings.Split(strings.Trim(name, "/"), "/")
	if info, err = os.Lstat(at); err != nil {
		return "", nil, err
	}
	for links := 0; len(left) > 0; {
		part := left[0]
		left = left[1:]
		if part == "" || part == "." {
			continue
		}
		if !info.IsDir() {
			return "", nil, &fs.PathError{Op: "lstat", Path: at, Err: syscall.ENOTDIR}
		}
		if !m.trusts(at) {
			if err := m.safe(at, info); err != nil {
				return "", nil, wayError(at, err)
			}
		}
		if part == ".." {
			at = path.Dir(at)
			if info, err = os.Lstat(at); err != nil {
				return "", nil, err
			}
			continue
		}
		next := path.Join(at, part)
		if info, err = os.Lstat(next); err != nil {
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > 40 {
			return "", nil, &fs.PathError{Op: "readlink", Path: next, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", nil, err
		}
		if path.IsAbs(target) {
			at = "/"
		}
		if info, err = os.Lstat(at); err != nil {
			return "", nil, err
		}
		left = append(strings.Split(target, "/"), left...)
	}
	return at, info, nil
}

// wayError says that a directory on the way is the trouble.
func wayError(dir string, err error) error {
	var r *refusal
	if !errors.As(err, &r) {
		return err
	}
	return &refusal{"its directory " + dir + " " + r.what, r.remedy}
}

// Executable is the file behind a path. The error says why it is none that
// only root can have put there: then it is not to be trusted.
func Executable(path string) (policy.FileID, error) {
	f := thisMachine().find(path)
	if len(f.files) != 1 {
		r := refused{path, "cannot be used", ""}
		if len(f.refused) > 0 {
			r = f.refused[0]
		}
		return policy.FileID{}, &refusal{r.path + " " + r.what, r.remedy}
	}
	return policy.FileID{Dev: f.files[0].dev, Ino: f.files[0].ino}, nil
}
