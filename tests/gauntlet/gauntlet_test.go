package gauntlet

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"xexit/tests/machine"
)

// needs says why the gauntlet cannot run here, "" if it can.
func needs() string {
	if os.Geteuid() != 0 {
		return "the gauntlet needs root, for containers in which xexit can harm nobody"
	}
	for _, tool := range []string{"systemd-nspawn", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed (tests/setup.sh installs it)"
		}
	}
	if _, err := os.Stat(machine.Debian12 + ".made"); err != nil {
		return machine.Debian12 + " is not there (tests/image.sh makes it)"
	}
	return ""
}

func staged(t *testing.T) string {
	t.Helper()
	if why := needs(); why != "" {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	stage, err := os.MkdirTemp("/var/tmp", "xexit-gauntlet-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(stage); err != nil {
			t.Error(err)
		}
	})
	if err := Stage(repository, stage); err != nil {
		t.Fatal(err)
	}
	return stage
}

// TestGauntlet: what is written in ways.go holds. Every way outlives a logout;
// none survives xexit but where that was written down, and named then; and
// nobody else is hurt.
func TestGauntlet(t *testing.T) {
	stage := staged(t)
	cells, err := RunAll(stage, Ways(), append([]Ender{Control()}, Xexits()...), 3, func(c Cell) { t.Log(c.Line()) })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cells {
		t.Run(c.Way.Name+"/"+c.Ender.Name, func(t *testing.T) {
			for _, w := range c.Wrong {
				t.Error(w)
			}
		})
	}
}
