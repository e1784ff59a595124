// Package booted is what the tests share that boot containers: whether this
// machine can, and xexit staged for them. What a container is belongs to package
// machine.
package booted

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"xexit/tests/machine"
)

// Stage installs xexit where containers of these images can have it, and
// removes it when the test is over. Where none can be booted the test is
// skipped, or fails if nothing may be skipped.
func Stage(t *testing.T, images ...string) string {
	t.Helper()
	Require(t, images...)
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	stage, err := os.MkdirTemp("/var/tmp", "xexit-stage-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(stage); err != nil {
			t.Error(err)
		}
	})
	if err := machine.Stage(repository, stage); err != nil {
		t.Fatal(err)
	}
	return stage
}

// Require skips the test where no container of these images can be booted, or
// fails it if nothing may be skipped.
func Require(t *testing.T, images ...string) {
	t.Helper()
	why := missing(images)
	switch {
	case why == "":
	case os.Getenv("XEXIT_TEST_NO_SKIP") != "":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}

func missing(images []string) string {
	if os.Geteuid() != 0 {
		return "it needs root, for containers in which xexit can harm nobody"
	}
	for _, tool := range []string{"systemd-nspawn", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed (tests/setup.sh installs it)"
		}
	}
	for _, image := range images {
		if _, err := os.Stat(image + ".made"); err != nil {
			return image + " is not there (tests/image.sh makes it)"
		}
	}
	return ""
}
