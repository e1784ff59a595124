package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Refusal is a directory entry that is not run, and why.
type Refusal struct {
	Name    string
	Path    string
	Reason  string
	Ignored bool // its name says that it is no hook: nothing is wrong
}

// List finds the hooks in dir, in the order in which they run: by name, byte
// by byte, as in the C locale. What is there and is not run comes back as
// refusals in the same order. A directory that is not there holds no hooks. The
// error is for a directory that cannot be read or may not be trusted, in which
// case nothing in it is run; it tells what to do.
func List(dir string) ([]Spec, []Refusal, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("hooks %s: %w", dir, err)
	}
	if _, err := verifyDir(dir, os.Geteuid()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, nil
		}
		return nil, nil, fmt.Errorf("hooks %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, nil, fmt.Errorf("hooks: %w", err)
	}
	var specs []Spec
	var refusals []Refusal
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if reason := ignoredName(e.Name()); reason != "" {
			refusals = append(refusals, Refusal{Name: e.Name(), Path: path, Reason: reason, Ignored: true})
			continue
		}
		found, err := verifyHook(path, os.Geteuid())
		if err != nil {
			refusals = append(refusals, Refusal{Name: e.Name(), Path: path, Reason: err.Error()})
			continue
		}
		specs = append(specs, Spec{Path: path, Sourced: found.sourced})
	}
	return specs, refusals, nil
}

// ignoredName says why a file of this name is no hook, "" if it is one. Dots
// are no reason: 10-foo.sh is a hook. Editors and package managers leave copies
// of a hook behind under the names here, and an old copy must not run.
func ignoredName(name string) string {
	switch {
	case strings.HasPrefix(name, "."):
		return "hidden"
	case strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"):
		return "an editor's autosave file"
	case strings.HasSuffix(name, "~"), strings.HasSuffix(name, ".bak"):
		return "a backup copy"
	case strings.HasSuffix(name, ".swp"):
		return "an editor's swap file"
	case name == "README", strings.HasPrefix(name, "README."):
		return "documentation"
	}
	switch ext := filepath.Ext(name); {
	case strings.HasPrefix(ext, ".dpkg-"), strings.HasPrefix(ext, ".ucf-"), strings.HasPrefix(ext, ".rpm"):
		return "a package manager's copy"
	}
	return ""
}
