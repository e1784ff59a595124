package machine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// xsession is the part of Debian's /etc/X11/Xsession that matters to a
// snippet: `set -e`, and every snippet is sourced into the one shell that then
// becomes the session.
const xsession = `#!/bin/sh
set -e
STARTUP="$*"
for snippet in $(run-parts --list /etc/X11/Xsession.d); do
  . "$snippet"
done
exec $STARTUP
`

// Stage builds everything that a machine needs and installs it below dir as a
// package would: `make install`, and the test programs in
// /usr/libexec/xexit-test. repository is the root of the source tree.
func Stage(repository, dir string) error {
	if err := command(repository, "make", "-s", "--no-print-directory", "install", "DESTDIR="+dir); err != nil {
		return err
	}
	if from := Lightdm(repository); from != "" && from != "/" {
		if err := command(repository, "cp", "-a", from+"/etc", from+"/usr", dir); err != nil {
			return err
		}
	}
	return StageTools(repository, dir)
}

// StageTools is Stage without xexit.
func StageTools(repository, dir string) error {
	libexec := filepath.Join(dir, filepath.Dir(Program))
	if err := os.MkdirAll(libexec, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	tests := filepath.Join(repository, "tests")
	if err := command(tests, "go", "build", "-buildvcs=false", "-o", libexec+"/", "./cmd/machine", "./cmd/leftover", "./cmd/grab", "./cmd/xclient", "./cmd/naive", "./cmd/clock", "./cmd/conflicts"); err != nil {
		return err
	}
	scripts, err := filepath.Glob(tests + "/scenario/*.sh")
	if err != nil {
		return err
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err == nil {
			err = os.WriteFile(filepath.Join(libexec, filepath.Base(script)), text, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(libexec, "Xsession"), []byte(xsession), 0o755)
}

// Lightdm is the root below which lightdm is, "" where there is none: the
// host's own, or where tests/setup.sh has unpacked it.
func Lightdm(repository string) string {
	for _, root := range []string{"/", filepath.Join(repository, "bin/lightdm")} {
		if _, err := os.Stat(filepath.Join(root, "usr/sbin/lightdm")); err == nil {
			return root
		}
	}
	return ""
}

func command(dir string, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v in %s: %w\n%s", argv, dir, err, out)
	}
	return nil
}
