// Package booted is what the tests share that boot containers: whether this
// machine can, and xexit staged for them. What a container is belongs to package
// machine.
package booted

import (
	"os"
	"path/filepath"
	"testing"

	"xexit/tests/machine"
)

// Stage installs xexit where containers of these images can have it, and
// removes it when the test is over. Where none can be booted the test is
// skipped, or fails if nothing may be skipped.
func Stage(t *testing.T, images ...string) string {
	t.Helper()
	return StageBy(t, machine.Stage, images...)
}

// StageBy is Stage for a test that installs more.
func StageBy(t *testing.T, install func(repository, dir string) error, images ...string) string {
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
	if err := install(repository, stage); err != nil {
		t.Fatal(err)
	}
	return stage
}

// Require skips the test where no container of these images can be booted, or
// fails it if nothing may be skipped.
func Require(t *testing.T, images ...string) {
	t.Helper()
	why := machine.Missing(images...)
	switch {
	case why == "":
	case os.Getenv("XEXIT_TEST_NO_SKIP") != "":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}
