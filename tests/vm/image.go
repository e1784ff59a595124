package vm

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// image writes an initramfs: a cpio archive of the format newc, as in the
// kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
type image struct {
	out   *bufio.Writer
	file  *os.File
	at    int // bytes written
	names map[string]bool
	err   error // the first; nothing is written after it
}

func newImage(path string) (*image, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &image{out: bufio.NewWriterSize(f, 1<<20), file: f, names: map[string]bool{".": true}}, nil
}

// close finishes the archive and returns what went wrong on the way.
func (i *image) close() error {
	i.entry("TRAILER!!!", 0, nil)
	return errors.Join(i.err, i.out.Flush(), i.file.Close())
}

func (i *image) entry(name string, mode uint32, content []byte) {
	if i.err != nil {
		return
	}
	var head strings.Builder
	head.WriteString("070701")
	for _, field := range []int{len(i.names), int(mode), 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(&head, "%08X", field)
	}
	head.WriteString(name + "\x00")
	i.write([]byte(head.String()))
	i.write(content)
}

// write pads to four bytes.
func (i *image) write(b []byte) {
	if i.err != nil {
		return
	}
	n, err := i.out.Write(append(b[:len(b):len(b)], make([]byte, -(i.at+len(b))&3)...))
	i.at, i.err = i.at+n, err
}

// once reports whether a name is new, and makes the directories above it.
func (i *image) once(path string) (name string, isNew bool) {
	name = strings.TrimPrefix(filepath.Clean(path), "/")
	if i.names[name] {
		return name, false
	}
	i.dir(filepath.Dir(name))
	i.names[name] = true
	return name, true
}

func (i *image) dir(path string) {
	if name, isNew := i.once(path); isNew && name != "." {
		i.entry(name, 0o040755, nil)
	}
}

func (i *image) link(path, to string) {
	if name, isNew := i.once(path); isNew {
		i.entry(name, 0o120777, []byte(to))
	}
}

func (i *image) text(path string, mode uint32, content []byte) {
	if name, isNew := i.once(path); isNew {
		i.entry(name, 0o100000|mode, content)
	}
}

// add copies a file of this machine to where it is here, and the libraries
// that it is linked with. What directories above it are links to is resolved,
// and so is the file itself.
func (i *image) add(path string) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		i.fail(err)
		return
	}
	place := filepath.Join(dir, filepath.Base(path))
	if i.names[strings.TrimPrefix(place, "/")] {
		return
	}
	i.addAs(path, place)
	libraries, err := linked(path)
	i.fail(err)
	for _, library := range libraries {
		i.add(library)
	}
}

func (i *image) addAs(path, place string) {
	content, err := os.ReadFile(path)
	if err != nil {
		i.fail(err)
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		i.fail(err)
		return
	}
	i.text(place, uint32(info.Mode().Perm())|0o444, content)
}

// tree copies everything below a directory to another place.
func (i *image) tree(from, to string) {
	i.fail(filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		place := filepath.Join(to, below)
		switch {
		case d.IsDir():
			i.dir(place)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			i.link(place, target)
			return err
		default:
			i.addAs(path, place)
		}
		return i.err
	}))
}

func (i *image) fail(err error) {
	if i.err == nil {
		i.err = err
	}
}

// linked lists the libraries that the loader would load with a program, as
// ldd(1) prints them; none for what is no dynamic program.
func linked(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, nil // a script, a table
	}
	dynamic := slices.ContainsFunc(f.Sections, func(s *elf.Section) bool { return s.Type == elf.SHT_DYNAMIC })
	_ = f.Close()
	if !dynamic {
		return nil, nil
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", path, err)
	}
	var libraries []string
	for line := range strings.Lines(string(out)) {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") {
				libraries = append(libraries, word)
			}
		}
	}
	return libraries, nil
}

// module reads a kernel module, which may be compressed, and which others it
// says to need.
func module(path string) (text []byte, needs []string, err error) {
	if strings.HasSuffix(path, ".xz") {
		text, err = exec.Command("xz", "-dc", path).Output()
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return text, nil, nil
	}
	info, err := section.Data()
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(entry, []byte("depends=")); ok {
			needs = strings.FieldsFunc(string(list), func(r rune) bool { return r == ',' })
		}
	}
	return text, needs, err
}
