package registry

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestFindDir(t *testing.T) {
	uid := uint32(os.Geteuid())
	name := strconv.FormatUint(uint64(uid), 10)
	type layout struct{ root, xdg, run, tmp string }
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, l *layout)
		want    func(l layout) string // "" : refused
		refused string
	}{
		{"variable", nil, func(l layout) string { return l.xdg + "/xexit" }, ""},
		{"unset", func(_ *testing.T, l *layout) { l.xdg = "" }, func(l layout) string { return l.run + "/" + name + "/xexit" }, ""},
		{"relative", func(_ *testing.T, l *layout) { l.xdg = "here" }, func(l layout) string { return l.run + "/" + name + "/xexit" }, ""},
		{"missing", func(t *testing.T, l *layout) { remove(t, l.xdg) }, func(l layout) string { return l.run + "/" + name + "/xexit" }, ""},
		{"open to others", func(t *testing.T, l *layout) { chmod(t, l.xdg, 0o777) }, func(l layout) string { return l.run + "/" + name + "/xexit" }, ""},
		{"neither", func(t *testing.T, l *layout) { l.xdg = ""; remove(t, l.run+"/"+name) }, func(l layout) string { return l.tmp + "/xexit-" + name }, ""},
		{"ours, readable by others", func(t *testing.T, l *layout) { mkdir(t, l.xdg+"/xexit", 0o755) }, nil, "chmod 700"},
		{"a link", func(t *testing.T, l *layout) {
			if err := os.Symlink(l.tmp, l.xdg+"/xexit"); err != nil {
				t.Fatal(err)
			}
		}, nil, "not a directory"},
		{"trap in /tmp", func(t *testing.T, l *layout) {
			l.xdg = ""
			remove(t, l.run+"/"+name)
			mkdir(t, l.tmp+"/xexit-"+name, 0o770)
		}, nil, "open to others"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			l := layout{root: root, xdg: root + "/xdg", run: root + "/run", tmp: root + "/tmp"}
			for _, d := range []string{l.xdg, l.run, l.run + "/" + name, l.tmp} {
				mkdir(t, d, 0o700)
			}
			if c.prepare != nil {
				c.prepare(t, &l)
			}
			getenv := func(string) string { return l.xdg }
			for range 2 { // the second time it exists
				dir, err := findDir(getenv, uid, places{l.run, l.tmp})
				if c.want != nil {
					if err != nil || dir != c.want(l) {
						t.Errorf("%q, %v; want %q", dir, err, c.want(l))
					}
					continue
				}
				var unsafe *UnsafeError
				if !errors.As(err, &unsafe) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("%q, %v; want a refusal with %q", dir, err, c.refused)
				}
			}
		})
	}
}

// Only root can make a directory that is somebody else's.
func TestFindDirOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	root := t.TempDir()
	mkdir(t, filepath.Join(root, "xexit-1234"), 0o700)
	_, err := findDir(func(string) string { return "" }, 1234, places{root + "/none", root})
	if err == nil || !strings.Contains(err.Error(), "belongs to uid 0, not to uid 1234") {
		t.Error(err)
	}
}

func mkdir(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Mkdir(path, mode); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseEntry(f *testing.F) {
	full := Entry{ID: "aaaaaaaa-0000-4000-8000-000000000001", Display: ":1", Audit: 4, Start: 9, Program: "/p", Timing: Timing{HungAfter: 1}}
	f.Add(string(full.appendText(nil)))
	f.Add(headLine + "\n" + tailLine + "\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseEntry(text)
		if err != nil {
			return
		}
		again, err := parseEntry(string(e.appendText(nil)))
		if err != nil {
			t.Fatalf("not readable again: %v", err)
		}
		if a, b := string(e.appendText(nil)), string(again.appendText(nil)); a != b {
			t.Fatalf("%q became %q", a, b)
		}
	})
}
