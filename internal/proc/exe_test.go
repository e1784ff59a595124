package proc_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"xexit/internal/proc"
)

// asleep starts a copy of cat that waits for the end of the test.
func asleep(t *testing.T, attr *syscall.SysProcAttr) (pid int, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "program")
	content, err := os.ReadFile("/bin/cat")
	if err == nil {
		err = os.WriteFile(file, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file)
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		if attr == nil || os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	return cmd.Process.Pid, file
}

func TestImage(t *testing.T) {
	fs := open(t)
	pid, file := asleep(t, nil)
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	want := proc.Image{Dev: uint64(st.Dev), Ino: st.Ino, Owner: uint32(os.Geteuid())}
	if got, err := fs.Image(pid); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	// Another file by that name is not what it executes, and nothing is that once
	// the name is gone.
	if err := os.Rename(file, file+".old"); err != nil {
		t.Fatal(err)
	}
	if got, err := fs.Image(pid); err != nil || got != want {
		t.Errorf("renamed: %+v, %v", got, err)
	}
	if path, err := fs.ImagePath(pid); err != nil || string(path) != file+".old" {
		t.Errorf("renamed: %q, %v", path, err)
	}
	if err := os.Remove(file + ".old"); err != nil {
		t.Fatal(err)
	}
	want.Deleted = true
	if got, err := fs.Image(pid); err != nil || got != want {
		t.Errorf("deleted: %+v, %v", got, err)
	}
	if path, err := fs.ImagePath(pid); err != nil || !bytes.HasSuffix(path, []byte(" (deleted)")) {
		t.Errorf("deleted: %q, %v", path, err)
	}
}

// TestImageOfZombie: who has no image is no error.
func TestImageOfZombie(t *testing.T) {
	fs := open(t)
	cmd := exec.Command("/bin/true")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1)) // the end: it has closed its files, and so given up its image
	}
	if err == nil {
		t.Fatal("true has said something")
	}
	if got, err := fs.Image(cmd.Process.Pid); err != nil || got != (proc.Image{}) {
		t.Errorf("%+v, %v", got, err)
	}
	_ = cmd.Wait()
	if _, err := fs.Image(cmd.Process.Pid); err == nil {
		t.Error("an image of nobody")
	}
}

func TestSharesUsers(t *testing.T) {
	fs := open(t)
	pid, _ := asleep(t, nil)
	if ours, err := fs.SharesUsers(pid); err != nil || !ours {
		t.Errorf("a child: %v, %v", ours, err)
	}
	foreign, _ := asleep(t, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
	})
	if ours, err := fs.SharesUsers(foreign); err != nil || ours {
		t.Errorf("one in a namespace of its own: %v, %v", ours, err)
	}
	if _, err := fs.SharesUsers(1 << 30); err == nil {
		t.Error("nobody's namespace")
	}
}
