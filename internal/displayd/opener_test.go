package displayd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/display/displaytest"
	"xexit/internal/display/x11"
)

// someone is a process of another user in a login, with an environment.
func someone(t *testing.T, env ...string) Spec {
	t.Helper()
	cmd := exec.Command(self(), sleeperVerb)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: ofUser, Gid: ofUser}, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return Spec{UID: ofUser, Leader: identity(t, cmd.Process.Pid)}
}

// public is a directory that everybody can enter.
func public(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "xexit-displayd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cookieFile files a cookie for every display.
func cookieFile(t *testing.T, path string, cookie []byte, mode os.FileMode, owner int) {
	t.Helper()
	entry := []byte{0xff, 0xff, 0, 0, 0, 0, 0, byte(len(x11.CookieProtocol))}
	entry = append(entry, x11.CookieProtocol...)
	entry = append(entry, 0, byte(len(cookie)))
	entry = append(entry, cookie...)
	if err := os.WriteFile(path, entry, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, owner, owner); err != nil {
		t.Fatal(err)
	}
}

// Display and cookie are found as the user, and with no more than his rights.
func TestOpenerAsUser(t *testing.T) {
	needRoot(t)
	dir := public(t)
	secret := []byte("0123456789abcdef")
	srv, err := displaytest.StartWith(dir, displaytest.Options{Cookie: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	if err := os.Chmod(filepath.Join(dir, "X"), 0o777); err != nil {
		t.Fatal(err)
	}
	theirs, roots := filepath.Join(dir, "theirs"), filepath.Join(dir, "roots")
	cookieFile(t, theirs, secret, 0o600, ofUser)
	cookieFile(t, roots, secret, 0o600, 0)
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(roots, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}

	r := runClient(t, Options{})
	good := someone(t, "DISPLAY="+srv.Display(), "XAUTHORITY="+theirs)
	r.watch("good", good)
	r.await("good", Opened, 0)
	named := good
	named.Display = srv.Display()
	r.watch("named", named)
	r.await("named", Opened, 0)

	for name, c := range map[string]struct{ authority, text string }{
		"roots":     {roots, "permission denied"},
		"shadow":    {"/etc/shadow", "permission denied"},
		"link":      {link, "permission denied"},
		"fifo":      {fifo, "not a regular file"},
		"directory": {dir, "not a regular file"},
		"device":    {"/dev/zero", "not a regular file"},
		"long":      {dir + "/" + strings.Repeat("a", 300), "too long"},
	} {
		r.watch(name, someone(t, "DISPLAY="+srv.Display(), "XAUTHORITY="+c.authority))
		e, _ := r.await(name, Failed, 0)
		if !strings.Contains(e.Err, c.text) {
			t.Errorf("%s: %s", name, e.Err)
		}
	}
	r.watch("nowhere", someone(t, "LANG=C"))
	if e, _ := r.await("nowhere", Failed, 0); !strings.Contains(e.Err, errNowhere.Error()) {
		t.Errorf("%+v", e)
	}
	if n := r.count(Opened); n != 2 {
		t.Errorf("%d displays were opened", n)
	}
}
