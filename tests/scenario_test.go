package tests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"xexit/tests/machine"
)

// needs says why scenarios cannot run here, "" if they can.
func needs() string {
	if os.Geteuid() != 0 {
		return "scenarios need root, to make machines in which xexit can harm nobody"
	}
	for _, tool := range []string{"Xvfb", "Xephyr", "Xwayland", "weston", "xprop", "xset", "xauth", "xinit", "startx", "dbus-daemon", "ip", "ss", "nft", "ps", "setsid", "logger", "setpriv", "nsenter", "ssh", "sshd"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Sprintf("%s is not installed (tests/setup.sh installs it)", tool)
		}
	}
	if machine.Lightdm("..") == "" {
		return "lightdm is neither installed nor in bin/lightdm (tests/setup.sh puts it there)"
	}
	return ""
}

func TestScenarios(t *testing.T) {
	if why := needs(); why != "" {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	// Not below /tmp: a machine has a /tmp of its own over it.
	top, err := os.MkdirTemp("/var/tmp", "xexit-scenarios-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	stage := filepath.Join(top, "stage")
	if err := os.MkdirAll(stage, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := machine.Stage(repository, stage); err != nil {
		t.Fatal(err)
	}
	watchSources(t, repository)
	work := filepath.Join(top, "work")
	if err := errors.Join(os.Mkdir(work, 0o755), os.Chmod(top, 0o755)); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "scenario",
		WorkdirRoot:         work,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                commands(),
		Setup:               func(env *testscript.Env) error { return setUp(env, stage, top) },
	})
}

// watchSources looks at every file that the binaries are made from: go test
// remembers the result of a test until a file that it looked at changes.
func watchSources(t *testing.T, repository string) {
	t.Helper()
	for _, top := range []string{"cmd", "internal", "share", "tests", "Makefile", "go.mod"} {
		err := filepath.WalkDir(filepath.Join(repository, top), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			_, err = os.Stat(name)
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// scene is what one script has built up.
type scene struct {
	m        *machine.Machine
	servers  map[string]*machine.Server
	sessions map[string]*machine.Session
	helpers  map[string]func() error // by display or directory: let it go
	status   int                     // of the last command
}

type sceneKey struct{}

func setUp(env *testscript.Env, stage, top string) error {
	base, err := os.MkdirTemp(top, "machine-")
	if err != nil {
		return err
	}
	m, err := machine.Start(stage, base)
	if err != nil {
		return err
	}
	s := &scene{
		m:        m,
		servers:  make(map[string]*machine.Server),
		sessions: make(map[string]*machine.Session),
		helpers:  make(map[string]func() error),
	}
	env.Values[sceneKey{}] = s
	t := env.T()
	env.Defer(func() {
		t.Log(s.lastWords())
		if err := m.Stop(); err != nil {
			t.Log("stop the machine: ", err)
		}
	})
	return nil
}

func sceneOf(ts *testscript.TestScript) *scene { return ts.Value(sceneKey{}).(*scene) }

// lastWords is what somebody wants to see of a machine whose script failed.
func (s *scene) lastWords() string {
	var b strings.Builder
	b.WriteString("--- what was left in the machine\n")
	if out, err := s.m.Root("ps", "-eo", "pid,ppid,pgid,sess,user,stat,args"); err == nil {
		b.WriteString(out)
	}
	// With a deadline: a scenario may have made a directory hang.
	for _, files := range []string{machine.Syslog, "/home/*/.xsession-errors", "/run/user/*/xexit/*", "/home/alice/.local/state/xexit/*"} {
		out, err := s.m.Root("timeout", "-s", "KILL", "5", "sh", "-c", "for f in "+files+"; do [ ! -s $f ] || { echo \"--- $f\"; head -c 20000 $f; }; done")
		if err == nil {
			b.WriteString(out)
		}
	}
	return b.String()
}
