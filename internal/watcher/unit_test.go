package watcher_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unit = "../../share/systemd/user/xexit.service"

// systemd itself says whether it understands the unit. What it does is shown
// by tests/scenario/wayland.txtar.
func TestUnitIsUnderstood(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	f := newFixture(t, "")
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from, to string
		good     bool
	}{
		"as it is":      {"", "", true},
		"misspelt":      {"KillMode=mixed", "KillMode=mix", false},
		"unknown":       {"TimeoutStopSec=", "TimeoutStop=", false},
		"other program": {"ExecStart=" + f.xexit, "ExecStart=" + f.xexit + "-none", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "xexit.service")
			changed := strings.ReplaceAll(string(text), "/usr/bin/xexit", f.xexit)
			changed = strings.Replace(changed, c.from, c.to, 1)
			if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(analyze, "--user", "verify", "--man=no", path)
			cmd.Env = f.env
			out, err := cmd.CombinedOutput()
			if good := err == nil && !strings.Contains(string(out), "xexit"); good != c.good {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
