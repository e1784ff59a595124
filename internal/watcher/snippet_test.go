package watcher_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/session"
)

const snippet = "../../share/Xsession.d/90xexit"

// shells are those that /etc/X11/Xsession may be run by.
func shells() map[string][]string {
	return map[string][]string{"dash": {"dash"}, "bash": {"bash"}, "bash --posix": {"bash", "--posix"}}
}

// login sources the snippet as Xsession does, with xexit being what fake says,
// and then runs more. It is over when the shell has exited.
func (f *fixture) login(shell []string, options, more string) string {
	f.t.Helper()
	path, err := filepath.Abs(snippet)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := os.ReadFile(path); err != nil { // so that a cached result knows of it
		f.t.Fatal(err)
	}
	args := append(shell[1:], "-c", "set -e"+options+"\n. "+path+"\n"+more)
	cmd := exec.Command(shell[0], args...)
	cmd.Env = append([]string{"PATH=" + f.dir + "/bin:/usr/bin:/bin"}, f.env[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// A file, not a pipe: what hangs in the background would hold a pipe open.
	out, err := os.Create(filepath.Join(f.dir, "xsession-errors"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		f.t.Errorf("%v: the login failed: %v", shell, err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

// fake makes the xexit that the snippet finds.
func (f *fixture) fake(text string, mode os.FileMode) {
	f.t.Helper()
	if err := os.Mkdir(filepath.Join(f.dir, "bin"), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if text == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(f.dir, "bin/xexit"), []byte(text), mode); err != nil {
		f.t.Fatal(err)
	}
}

func TestSnippetNeverFailsALogin(t *testing.T) {
	for name, shell := range shells() {
		for _, c := range []struct {
			name string
			text string // of xexit; "": there is none
			mode os.FileMode
		}{
			{"missing", "", 0},
			{"not executable", "#!/bin/sh\n", 0o644},
			{"no interpreter", "#!/nowhere/sh\n", 0o755},
			{"crashing", "#!/bin/sh\nkill -SEGV $$\n", 0o755},
			{"failing", "#!/bin/sh\necho wrong >&2\nexit 2\n", 0o755},
			{"not a program", "\x7fELF broken", 0o755},
			{"hanging", "#!/bin/sh\necho $$ >\"$SAID\"\nexec cat \"$SAID.never\"\n", 0o755},
		} {
			for _, options := range []string{"", "u"} {
				t.Run(name+" "+c.name+options, func(t *testing.T) {
					f := newFixture(t, ":99")
					f.fake(c.text, c.mode)
					if err := syscall.Mkfifo(f.fifo+".never", 0o600); err != nil {
						t.Fatal(err)
					}
					out := f.login(shell, options, `echo "login goes on with $XEXIT_SESSION"`)
					if !strings.Contains(out, "login goes on with ") {
						t.Errorf("said %q", out)
					}
					if c.name == "hanging" {
						var pid int
						if _, err := fmt.Sscan(f.line(), &pid); err != nil {
							t.Fatal(err)
						}
						// Its reader ends by end of file.
						w, err := os.OpenFile(f.fifo+".never", os.O_WRONLY, 0)
						if err != nil {
							t.Fatal(err)
						}
						_ = w.Close()
					}
				})
			}
		}
	}
}

func TestSnippet(t *testing.T) {
	for name, shell := range shells() {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, ":99")
			f.fake(`#!/bin/sh
				{ echo "args $*"; echo "id $XEXIT_SESSION"; echo "leader $XEXIT_LEADER"; echo "owns ${XEXIT_OWNS_LOGIN-}"
				  read -r login </proc/self/sessionid; echo "login $login"; readlink /proc/$$/fd/0; echo end; } >$SAID`, 0o755)
			outer := "XEXIT_SESSION=1b4e28ba-2fa1-41d2-883f-0016d3cca427"
			f.env = append(f.env, outer)
			out := f.login(shell, "", `read -r login </proc/self/sessionid || :; echo "$$ $XEXIT_SESSION $login"; env | grep -c XEXIT_; set | grep -i '^xexit_' || :`)
			var leader, exported int
			var id, login, rest string
			if _, err := fmt.Sscan(out, &leader, &id, &login, &exported, &rest); err != nil {
				t.Fatalf("%v: %q", err, out)
			}
			if _, err := session.ParseID(id); err != nil || strings.HasSuffix(outer, id) {
				t.Errorf("session id %q, %v", id, err)
			}
			if exported != 1 || !strings.HasPrefix(rest, "XEXIT_SESSION=") || strings.Count(out, "\n") != 3 {
				t.Errorf("more than XEXIT_SESSION is left in the session: %q", out)
			}
			got := strings.Join(f.lines(), "\n")
			owns := ""
			if own, _ := os.ReadFile("/proc/self/sessionid"); string(own) == "4294967295" && login != "4294967295" {
				owns = "1" // the kernel gave a number
			}
			want := fmt.Sprintf("args /usr/bin/EndXSession\nid %s\nleader %d\nowns %s\nlogin %s\n/dev/null", id, leader, owns, login)
			if got != want {
				t.Errorf("xexit saw\n%s\nwant\n%s", got, want)
			}
		})
	}
}
