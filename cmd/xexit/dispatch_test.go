package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"xexit/internal/watcher"
)

// TestMain lets this binary be xexit, under any of its names, and xexit-main.
func TestMain(m *testing.M) {
	exe, err := watcher.Self()
	if err != nil {
		panic(err)
	}
	switch filepath.Base(exe) {
	case "xexit":
		main()
	case watcher.MainName:
		fmt.Printf("main %q\n", os.Args)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

func install(t *testing.T, mainBelow string) (dir string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, path := range []string{"bin/xexit", filepath.Join(mainBelow, watcher.MainName)} {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if os.Link(exe, full) == nil {
			continue
		}
		if err := os.WriteFile(full, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("xexit", filepath.Join(dir, "bin", watcher.EndName)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDispatch(t *testing.T) {
	dir := install(t, "libexec/xexit")
	odd := filepath.Join(dir, "path")
	if err := os.MkdirAll(odd, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"end", "prog"} {
		if err := os.WriteFile(filepath.Join(odd, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(odd, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// Without DISPLAY every PROGRAM is refused for that: so far it came.
	const watched = "DISPLAY is not set"
	for _, c := range []struct {
		argv   []string
		status int
		want   string
	}{
		{[]string{"xexit", "end", "--session", "x y"}, 3, `main ["xexit" "end" "--session" "x y"]`},
		{[]string{"xexit", "ps"}, 3, `main ["xexit" "ps"]`},
		{[]string{"xexit", "daemon"}, 3, `main ["xexit" "daemon"]`},
		{[]string{"xexit", "help", "end"}, 3, `main ["xexit" "help" "end"]`},
		{[]string{"xexit", "--version"}, 3, `main ["xexit" "version"]`},
		{[]string{"EndXSession", "--dry-run"}, 3, `main ["xexit" "end" "--dry-run"]`},
		{[]string{"/usr/bin/EndXSession"}, 3, `main ["xexit" "end"]`},
		{[]string{"xexit"}, 2, "usage: xexit PROGRAM"},
		{[]string{"xexit", "--help"}, 0, "usage: xexit PROGRAM"},
		{[]string{"xexit", "-h"}, 0, "usage: xexit PROGRAM"},
		{[]string{"xexit", "--foreground", "prog"}, 2, "xexit watch --foreground"},
		{[]string{"xexit", "prog", "--arg"}, 2, watched},
		{[]string{"xexit", odd + "/end"}, 2, watched}, // a '/' makes it a PROGRAM
		{[]string{"xexit", "plain"}, 2, watched},
		{[]string{"xexit", "watch", "--", "prog"}, 2, watched},
		{[]string{"xexit", "watch", "--help"}, 0, "usage: xexit watch"},
		{[]string{"xexit", "session", "--help"}, 0, "usage: xexit session"},
		{[]string{"xexit", "session"}, 2, "no command"},
		{[]string{"xexit", "wacth"}, 2, "did you mean 'xexit watch'?"},
		{[]string{"xexit", "pss"}, 2, "did you mean 'xexit ps'?"},
		{[]string{"xexit", "kepe"}, 2, "verbs: xexit --help"}, // not offered in this release
		{[]string{"xexit", "unlike-anything"}, 2, "verbs: xexit --help"},
	} {
		cmd := exec.Command(filepath.Join(dir, "bin/xexit"))
		cmd.Args = c.argv
		cmd.Env = []string{"PATH=" + odd, "XDG_RUNTIME_DIR=" + dir, "GORACE=atexit_sleep_ms=0"}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: status %d, %q; want %d, %q", c.argv, got, out.String(), c.status, c.want)
		}
	}
}

func TestUsageOffersWhatThereIs(t *testing.T) {
	text := usage()
	for _, v := range verbs {
		if got := strings.Contains(text, "\n  "+v.name+" "); got != (v.help != "") {
			t.Errorf("%s offered: %v", v.name, got)
		}
	}
}

func TestFindMain(t *testing.T) {
	for _, below := range []string{"bin", "libexec/xexit"} {
		dir := install(t, below)
		out, _ := exec.Command(filepath.Join(dir, "bin/xexit"), "ps").CombinedOutput()
		if !strings.HasPrefix(string(out), "main ") {
			t.Errorf("in %s: %s", below, out)
		}
	}
	dir := install(t, "elsewhere")
	cmd := exec.Command(filepath.Join(dir, "bin/xexit"), "ps")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "xexit-main is missing") {
		t.Errorf("missing: %s", out)
	}
}
