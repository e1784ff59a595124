package arch

import (
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const repository = "../.."

// load parses every Go file of the shipped module below cmd and internal, and
// the test module where wanted, grouped by package directory.
func load(t *testing.T, below ...string) map[string][]source {
	t.Helper()
	packages := make(map[string][]source)
	for _, top := range below {
		err := filepath.WalkDir(filepath.Join(repository, top), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(name, ".go") {
				return nil
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(repository, name)
			if err != nil {
				return err
			}
			dir := filepath.ToSlash(filepath.Dir(rel))
			s, err := parse(dir, filepath.Base(rel), text)
			if err != nil {
				return err
			}
			packages[dir] = append(packages[dir], s)
			return nil
		})
		if err != nil {
			t.Fatalf("load %s: %v", top, err)
		}
	}
	return packages
}

func report(t *testing.T, bad []string) {
	t.Helper()
	for _, b := range bad {
		t.Error(strings.TrimPrefix(b, repository+"/"))
	}
}

func TestImports(t *testing.T) {
	for _, files := range load(t, "cmd", "internal") {
		for _, s := range files {
			report(t, checkImports(s, table))
		}
	}
}

func TestCallsAndState(t *testing.T) {
	for _, files := range load(t, "cmd", "internal") {
		for _, s := range files {
			report(t, checkCalls(s))
			report(t, checkState(s))
		}
		report(t, checkMutation(files))
	}
}

func TestPackageComments(t *testing.T) {
	for dir, files := range load(t, "cmd", "internal") {
		report(t, checkDoc(dir, files))
	}
}

// The scenarios' module is test code throughout.
func TestScenariosDoNotSleep(t *testing.T) {
	for dir, files := range load(t, "tests") {
		for _, s := range files {
			s.test = true
			report(t, checkCalls(s))
		}
		report(t, checkDoc(dir, files))
	}
}

// TestSmallBinary follows the imports of cmd/xexit to their ends, through the
// standard library too.
func TestSmallBinary(t *testing.T) {
	packages := load(t, "cmd", "internal")
	reached := make(map[string]string) // import path → who imports it
	queue := []string{modulePath + "cmd/xexit"}
	for len(queue) > 0 {
		from := queue[0]
		queue = queue[1:]
		for _, to := range importsOf(t, from, packages) {
			if _, seen := reached[to]; !seen {
				reached[to] = from
				queue = append(queue, to)
			}
		}
	}
	for importPath := range reached {
		if !covers(binaryDeny, importPath) {
			continue
		}
		chain := []string{importPath}
		for at := importPath; reached[at] != ""; at = reached[at] {
			chain = append(chain, reached[at])
		}
		slices.Reverse(chain)
		t.Errorf("cmd/xexit reaches %s: %s", importPath, strings.Join(chain, " → "))
	}
}

// importsOf lists what the Linux build of one package imports. Packages of
// other modules are leaves.
func importsOf(t *testing.T, importPath string, packages map[string][]source) (imports []string) {
	t.Helper()
	if dir, ours := strings.CutPrefix(importPath, modulePath); ours {
		for _, s := range packages[dir] {
			if s.test {
				continue
			}
			for _, spec := range s.file.Imports {
				imports = append(imports, strings.Trim(spec.Path.Value, `"`))
			}
		}
		return imports
	}
	if first, _, _ := strings.Cut(importPath, "/"); strings.Contains(first, ".") || importPath == "C" || importPath == "unsafe" {
		return nil
	}
	context := build.Default
	context.GOOS, context.CgoEnabled = "linux", false
	p, err := context.Import(importPath, "", 0)
	if err != nil { // vendored inside the standard library
		return nil
	}
	return p.Imports
}
