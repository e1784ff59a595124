package proc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestListensUnix: who listens at a unix socket, and nobody who only has one.
func TestListensUnix(t *testing.T) {
	fs, err := New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	connection, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	passed := func(f interface{ File() (*os.File, error) }) *os.File {
		file, err := f.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		return file
	}
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for name, tt := range map[string]struct {
		file *os.File
		want bool
	}{
		"listens":                {passed(listener), true},
		"is connected":           {passed(connection.(*net.UnixConn)), false},
		"listens at TCP":         {passed(tcp), false},
		"has a file and no more": {nil, false},
	} {
		cmd := exec.Command("sleep", "1000")
		if tt.file != nil {
			cmd.ExtraFiles = []*os.File{tt.file}
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		got, err := fs.ListensUnix(cmd.Process.Pid)
		if err != nil || got != tt.want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.want)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if got, err := fs.ListensUnix(cmd.Process.Pid); got || !errors.Is(err, ErrGone) {
			t.Errorf("%s, dead: %v, %v", name, got, err)
		}
	}
}

// TestListensUnixBounds: of more than is looked at nothing is claimed.
func TestListensUnixBounds(t *testing.T) {
	root := t.TempDir()
	fd, table := filepath.Join(root, "7/fd"), filepath.Join(root, "7/net/unix")
	for _, dir := range []string{fd, filepath.Dir(table)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := func(n int) {
		if err := os.Symlink(fmt.Sprintf("socket:[%d]", n), filepath.Join(fd, fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	link(5)
	fs, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	const head = "Num       RefCount Protocol Flags    Type St Inode Path\n"
	line := func(flags string, inode int) string {
		return fmt.Sprintf("ffff: 00000002 00000000 %s 0001 01 %5d /run/a b\n", flags, inode)
	}
	many := strings.Repeat(line("00010000", 4), 1000)
	for name, tt := range map[string]struct {
		table string
		want  bool
		err   string
	}{
		"in a long table":    {head + many + line("00010000", 5) + many, true, ""},
		"not listening":      {head + many + line("00000000", 5), false, ""},
		"another's":          {head + many, false, ""},
		"nothing but a head": {head, false, ""},
		"cut off":            {head + "ffff: 00000002", false, ""},
		"no end of a line":   {strings.Repeat("x", maxTableLine+fileBuffer), false, "without an end"},
		"too long":           {strings.Repeat(line("00010000", 4), maxSocketTable/50), false, ErrTooMany.Error()},
	} {
		if err := os.WriteFile(table, []byte(tt.table), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := fs.ListensUnix(7)
		if got != tt.want || tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for n := range maxDescriptors {
		link(n + 100)
	}
	if got, err := fs.ListensUnix(7); got || !errors.Is(err, ErrTooMany) {
		t.Errorf("with too many descriptors: %v, %v", got, err)
	}
}
