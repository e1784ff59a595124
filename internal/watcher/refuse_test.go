package watcher_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestRefusals(t *testing.T) {
	x := startX(t)
	for _, c := range []struct {
		name    string
		prepare func(f *fixture)
		args    []string
		want    string // in the error
	}{
		{"no display", func(f *fixture) { f.env = append(f.env, "DISPLAY=") }, []string{"--", "true"}, "DISPLAY is not set"},
		{"bad display", func(f *fixture) { f.env = append(f.env, "DISPLAY=nonsense") }, []string{"--", "true"}, "DISPLAY"},
		{"no such program", nil, []string{"--", "/nowhere/prog"}, "there is no such file"},
		{"no such program in PATH", nil, []string{"--", "no-such-program"}, "not found in PATH"},
		{"not executable", func(f *fixture) {
			if err := os.WriteFile(filepath.Join(f.dir, "plain"), nil, 0o644); err != nil {
				f.t.Fatal(err)
			}
		}, []string{"--", "./plain"}, "chmod +x"},
		{"a directory", nil, []string{"--", "/usr"}, "is a directory"},
		{"unsafe runtime directory", func(f *fixture) {
			if err := os.Mkdir(f.runtime+"/xexit", 0o755); err != nil {
				f.t.Fatal(err)
			}
			if err := os.Chmod(f.runtime+"/xexit", 0o777); err != nil {
				f.t.Fatal(err)
			}
		}, []string{"--", "true"}, "chmod 700"},
		{"leader that is none", nil, []string{"--leader", "999999999", "--", "true"}, "--leader"},
		{"unknown flag", nil, []string{"--colour", "--", "true"}, "unknown flag --colour"},
		{"bad duration", nil, []string{"--interval", "5", "--", "true"}, "no duration"},
		{"no duration", nil, []string{"--interval"}, "needs a value"},
		{"no value wanted", nil, []string{"--foreground=yes", "--", "true"}, "takes no value"},
		{"root's end", needsRoot, nil, "root's session"},
		{"system user's end", func(f *fixture) { f.as(997) }, nil, "system user"},
		{"end without xexit-main", func(f *fixture) {
			f.as(54321)
			if err := os.Remove(filepath.Join(f.dir, "xexit-main")); err != nil {
				f.t.Fatal(err)
			}
		}, nil, "xexit-main is missing"},
	} {
		for _, mode := range []string{"", "--foreground"} {
			t.Run(c.name+mode, func(t *testing.T) {
				f := newFixture(t, x.display)
				if c.prepare != nil {
					c.prepare(f)
				}
				args := []string{"watch"}
				if mode != "" {
					args = append(args, mode)
				}
				status, out := f.run(append(args, c.args...)...)
				if status != 2 || !strings.Contains(out, c.want) || !strings.HasPrefix(out, "xexit: ") {
					t.Errorf("status %d, %q; want 2 with %q", status, out, c.want)
				}
				if entries, _ := filepath.Glob(f.runtime + "/xexit/*.session"); len(entries) > 0 {
					t.Errorf("registered all the same: %v", entries)
				}
			})
		}
	}
}

func needsRoot(f *fixture) { needRoot(f.t) }

func TestRefusedByTheServer(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	x := startX(t, "-auth", cookie(t, good, ":0", "0123456789abcdef0123456789abcdef"))
	cookie(t, good, x.display, "0123456789abcdef0123456789abcdef")
	cookie(t, bad, x.display, "ffffffffffffffffffffffffffffffff")
	f := newFixture(t, x.display)
	program := f.script("program", `echo ran >$SAID`)
	for name, file := range map[string]string{"wrong": bad, "none": "/nowhere", "a directory": dir} {
		f.env = append(f.env, "XAUTHORITY="+file)
		status, out := f.run("watch", "--", program)
		if status != 2 || !strings.Contains(out, "XAUTHORITY") {
			t.Errorf("%s: status %d, %q", name, status, out)
		}
	}
	f.env = append(f.env, "XAUTHORITY="+good)
	e := f.watch("--", program)
	x.kill()
	f.heard("ran")
	f.leave(e)
}

// cookie adds one to an Xauthority file.
func cookie(t *testing.T, file, display, key string) string {
	t.Helper()
	if out, err := exec.Command("xauth", "-f", file, "add", display, ".", key).CombinedOutput(); err != nil {
		t.Fatalf("xauth: %v: %s", err, out)
	}
	return file
}
