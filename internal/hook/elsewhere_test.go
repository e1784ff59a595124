package hook

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// here is a Runner that runs a command as a child of the test.
type here struct{ refuses error }

func (h here) Run(ctx context.Context, c Command) (Exit, error) {
	if h.refuses != nil {
		return Exit{}, h.refuses
	}
	ctx, cancel := context.WithTimeout(ctx, c.Deadline)
	defer cancel()
	cmd := &exec.Cmd{Path: c.Path, Args: c.Argv, Env: c.Env, Stdout: c.Output, Stderr: c.Output}
	if c.Input != nil {
		cmd.Stdin = c.Input
	}
	if err := cmd.Start(); err != nil {
		return Exit{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	timedOut := !stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Exit{}, err
	}
	return Exit{Status: cmd.ProcessState.ExitCode(), TimedOut: timedOut}, nil
}

// What somebody else runs does what it would do as a child, behind the shield
// or without it.
func TestRunBy(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A signal that harms nobody, should it get through.
	const everybody = "kill -WINCH -1 2>/dev/null && echo sent || echo refused\n"
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		stage      string // "": no shield
		want       Result
	}{
		{"10-status", "#!/bin/sh\necho $X; exit 3\n", 0o755, "", Result{Status: 3, Output: []byte("x\n")}},
		{"20-no-shebang", "echo $0 $#\n", 0o755, "", Result{Output: []byte(filepath.Join(dir, "20-no-shebang") + " 0\n")}},
		{"30-fragment", "echo sourced; exit 1\n", 0o644, "", Result{Status: 1, Output: []byte("sourced\n")}},
		{"40-shielded", "#!/bin/sh\nread line || echo none\n" + everybody, 0o755, self, Result{Output: []byte("none\nrefused\n"), Denied: []string{"kill(-1, WINCH)"}}},
		{"50-shielded-fragment", everybody, 0o644, self, Result{Output: []byte("refused\n"), Denied: []string{"kill(-1, WINCH)"}}},
		{"60-no-stage", "#!/bin/sh\necho ran\n", 0o755, "/bin/true", Result{Output: []byte("ran\n"), Unshielded: stageSilent}},
		{"70-untrusted", "#!/bin/sh\n", 0o777, "", Result{Status: -1, Refused: "may be written to by others"}},
	} {
		path := filepath.Join(dir, c.name)
		if err := errors.Join(os.WriteFile(path, []byte(c.text), 0o755), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		o := Options{Shield: c.stage != "", Stage: c.stage}
		r := RunBy(t.Context(), Spec{Path: path}, []string{"PATH=/usr/bin:/bin", "X=x"}, o, here{})
		if r.Status != c.want.Status || string(r.Output) != string(c.want.Output) || r.Unshielded != c.want.Unshielded ||
			r.Failed != "" || !strings.Contains(r.Refused, c.want.Refused) || (r.Refused == "") != (c.want.Refused == "") ||
			len(r.Denied) != len(c.want.Denied) || len(r.Denied) > 0 && !strings.Contains(r.Denied[0], "(-1, ") {
			t.Errorf("%s: %+v (%s)", c.name, r, r.Output)
		}
	}
}

// A runner that cannot is told of, and one that says too much is cut.
func TestRunByFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "10-talks")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := RunBy(t.Context(), Spec{Path: path}, nil, Options{}, here{errors.New("not today")})
	if r.Failed != "not today" || r.Status != -1 {
		t.Errorf("%+v", r)
	}
	r = RunBy(t.Context(), Spec{Path: path}, []string{"PATH=/usr/bin:/bin"}, Options{OutputCap: 10}, here{})
	if string(r.Output) != "xxxxxxxxxx" || !r.Truncated || r.Dropped != 100000-10 || r.Status != 0 {
		t.Errorf("%d bytes and %d more, status %d", len(r.Output), r.Dropped, r.Status)
	}
}
