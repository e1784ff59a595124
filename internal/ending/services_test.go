package ending

import (
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"xexit/internal/logindefs"
)

// TestServicesOnFile: a pid file counts if only root or a system user can have
// written it, and what is none is not waited for.
func TestServicesOnFile(t *testing.T) {
	if os.Geteuid() != 0 {
		cannot(t, os.ErrPermission)
	}
	h := Host{Root: t.TempDir()}
	run := filepath.Join(h.Root, "run")
	put := func(name, text string, mode os.FileMode, uid int) {
		t.Helper()
		name = filepath.Join(run, name)
		write(t, name, text)
		for _, err := range []error{os.Chmod(name, mode), os.Chown(name, uid, uid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put("crond.pid", "101\n", 0o644, 0)
	put("mysqld/mysqld.pid", "102", 0o660, 499)
	put("postgresql/13-main.pid", "103\n/var/lib/postgresql/13/main\n1700000000\n5432\n", 0o600, 499)
	put("daemon/pid", " 104 \n", 0o644, 0)
	put("users.pid", "201\n", 0o644, 1000)
	put("anybody.pid", "202\n", 0o666, 0)
	put("of-a-user/x.pid", "203\n", 0o644, 0)
	put("open/x.pid", "204\n", 0o644, 0)
	put("user/1000/x.pid", "205\n", 0o644, 0)
	put("x.pid.old", "206\n", 0o644, 0)
	put("empty.pid", "", 0o644, 0)
	put("words.pid", "none\n", 0o644, 0)
	put("init.pid", "1\n", 0o644, 0)
	put("negative.pid", "-101\n", 0o644, 0)
	for _, err := range []error{
		os.Chown(filepath.Join(run, "of-a-user"), 1000, 1000), os.Chmod(filepath.Join(run, "open"), 0o1777),
		os.Symlink("crond.pid", filepath.Join(run, "link.pid")), syscall.Mkfifo(filepath.Join(run, "fifo.pid"), 0o644),
		os.Mkdir(filepath.Join(run, "dir.pid"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	limits := logindefs.Range{Min: 1000, Max: 60000}
	got, err := h.services(limits)
	want := map[int]string{101: "/run/crond.pid", 102: "/run/mysqld/mysqld.pid", 103: "/run/postgresql/13-main.pid", 104: "/run/daemon/pid"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v\nwant %v", got, err, want)
	}
	// What is listed as a file may be none when it is opened.
	for _, name := range []string{"fifo.pid", "link.pid"} {
		if pid, err := readPidFile(filepath.Join(run, name), limits); pid != 0 || err != nil {
			t.Errorf("%s: %d, %v", name, pid, err)
		}
	}
	if got, err := (Host{Root: t.TempDir()}).services(limits); len(got) > 0 || err != nil {
		t.Errorf("no /run: %v, %v", got, err)
	}
	write(t, filepath.Join(h.Root, "file/run"), "")
	if _, err := (Host{Root: filepath.Join(h.Root, "file")}).services(limits); err == nil {
		t.Error("/run cannot be read, and that is no error")
	}
}
