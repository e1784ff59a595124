package watcher_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A history that cannot be written holds up nothing; what it did not take is
// left in the runtime directory.
func TestRecordHangs(t *testing.T) {
	t.Parallel() // it waits for two deadlines of seconds
	x := startX(t)
	f := newFixture(t, x.display)
	f.env = append(f.env, "FAKE_MAIN_HANGS=record")
	e := f.watch("--", f.script("program", `echo ran >$SAID; echo precious`))
	x.kill()
	f.heard("ran")
	f.leave(e)
	out, err := os.ReadFile(filepath.Join(f.runtime, "xexit", string(e.ID)+".out"))
	if err != nil || string(out) != "precious\n" {
		t.Errorf("output %q, %v", out, err)
	}
	if all := f.sessions(); len(all) != 0 {
		t.Errorf("still registered: %+v", all)
	}
}

// Without a place for its output PROGRAM runs all the same.
func TestNoPlaceForOutput(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	e := f.watch("--", f.script("program", `echo lost; readlink /proc/$$/fd/2 >$SAID`))
	if err := os.Mkdir(filepath.Join(f.runtime, "xexit", string(e.ID)+".out"), 0o700); err != nil {
		t.Fatal(err)
	}
	x.kill()
	if line := f.heard("/"); line != "/dev/null" {
		t.Errorf("output goes to %s", line)
	}
	f.leave(e)
}

// The runtime directory is taken away: the display stays watched.
func TestRuntimeDirectoryRemoved(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	e := f.watch("--", f.script("program", `echo ran >$SAID`))
	if err := os.RemoveAll(f.runtime); err != nil {
		t.Fatal(err)
	}
	x.kill()
	f.heard("ran")
	f.leave(e)
}

// A program that has gone by the end is said to be gone, and recorded so.
func TestProgramIsGone(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	program := f.script("program", `echo ran >$SAID`)
	e := f.watch("--", program)
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	x.kill()
	if line := f.recorded(); !strings.Contains(line, " status=127 problem=") || !strings.Contains(line, "no such file") {
		t.Error(line)
	}
	f.leave(e)
}

// What has no '#!' is a shell script, as for execvp(3).
func TestScriptWithoutInterpreterLine(t *testing.T) {
	x := startX(t)
	f := newFixture(t, x.display)
	path := filepath.Join(f.dir, "plain")
	if err := os.WriteFile(path, []byte(`echo "ran with $1" >$SAID`), 0o755); err != nil {
		t.Fatal(err)
	}
	e := f.watch("--", path, "this")
	x.kill()
	if line := f.heard("ran"); line != "ran with this" {
		t.Error(line)
	}
	f.recorded()
	f.leave(e)
}
