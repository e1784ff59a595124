package watcher_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xexit/internal/watcher"
)

// CMD may be a desktop: it runs also where its session cannot be ended.
func TestSessionThatCannotBeEnded(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(f *fixture) error
		want    string
	}{
		{"no xexit-main", func(f *fixture) error {
			return os.Remove(filepath.Join(filepath.Dir(f.xexit), watcher.MainName))
		}, "installed completely?"},
		{"runtime directory open to others", func(f *fixture) error {
			path := filepath.Join(f.runtime, "xexit")
			if err := os.Mkdir(path, 0o755); err != nil {
				return err
			}
			return os.Chmod(path, 0o755)
		}, "chmod 700"},
		{"in the way", func(f *fixture) error {
			return os.WriteFile(filepath.Join(f.runtime, "xexit"), nil, 0o600)
		}, "is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, "")
			f.env = append(f.env, "XEXIT_SESSION=1b4e28ba-2fa1-41d2-883f-0016d3cca427")
			if err := c.prepare(f); err != nil {
				t.Fatal(err)
			}
			plain := filepath.Join(f.dir, "plain")
			if err := os.WriteFile(plain, []byte(`echo "ran with $1 in $XEXIT_SESSION" >$SAID; exit 7`), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, command := range [][]string{
				{"sh", "-c", `echo "ran with $0 in $XEXIT_SESSION" >$SAID; exit 7`, "this"},
				{plain, "this"}, // no '#!'
			} {
				status, out := f.run(append([]string{"session", "--"}, command...)...)
				if status != 7 || !strings.Contains(out, "WARNING") || !strings.Contains(out, c.want) ||
					!strings.Contains(out, "will NOT be ended") || strings.Count(out, "\n") != 1 {
					t.Errorf("%s: status %d, %q", command[0], status, out)
				}
				// It stays in the session around it, if there is one.
				if line := f.line(); line != "ran with this in 1b4e28ba-2fa1-41d2-883f-0016d3cca427" {
					t.Error(line)
				}
			}
			if status, out := f.run("session", "--", "/nowhere/cmd"); status != 2 || strings.Contains(out, "WARNING") {
				t.Errorf("a command that is not there: status %d, %q", status, out)
			}
		})
	}
}

// What has no '#!' is a shell script, as for execvp(3).
func TestSessionScriptWithoutInterpreterLine(t *testing.T) {
	f := newFixture(t, "")
	path := filepath.Join(f.dir, "plain")
	if err := os.WriteFile(path, []byte(`echo "ran with $1" >$SAID; exit 7`), 0o755); err != nil {
		t.Fatal(err)
	}
	if status, out := f.run("session", "--", path, "this"); status != 7 || out != "" {
		t.Errorf("status %d, %q", status, out)
	}
	if line := f.line(); line != "ran with this" {
		t.Error(line)
	}
}

// Started through a link in /proc, a watcher has its own name in ps(1).
func TestResidentName(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	e := f.watch("--", f.script("program", `exit 0`))
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", e.Watcher.PID))
	if err != nil || string(name) != "xexit\n" {
		t.Errorf("%q, %v", name, err)
	}
}
