package ipc

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestStartStop: the socket of a server that has stopped says so, and the next
// one takes its place. Whoever was being served is told.
func TestStartStop(t *testing.T) {
	path := filepath.Join(socketDir(t), "control")
	if _, err := here(path).Status(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Fatalf("no socket: %v, want ErrAbsent", err)
	}
	for range 2 {
		k := newKeeper()
		k.logins[0].UID = uint32(os.Getuid())
		begun := make(chan struct{})
		k.during = func(ctx context.Context, _ func(Step)) (Result, error) {
			close(begun)
			<-ctx.Done()
			return Result{}, ctx.Err()
		}
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		stop := serve(t, l, k, nil)
		if _, err := here(path).Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		silent, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		ended := make(chan error, 1)
		go func() {
			_, err := here(path).End(t.Context(), "1", EndRequest{}, nil)
			ended <- err
		}()
		<-begun
		stop()
		if err := <-ended; !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "goes on") {
			t.Errorf("an end under way when the server stops: %v", err)
		}
		if _, err := here(path).Status(t.Context()); !errors.Is(err, ErrAbsent) {
			t.Fatalf("stopped: %v, want ErrAbsent", err)
		}
	}
}

// TestWhatIsInTheWay: at the place of the socket. What a link leads to is left
// alone.
func TestWhatIsInTheWay(t *testing.T) {
	for _, tt := range []struct {
		name string
		put  func(t *testing.T, path string)
		want string // error; "": it is replaced
	}{
		{"stale socket", func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			_ = l.Close()
		}, ""},
		{"file", func(t *testing.T, path string) { write(t, path) }, ""},
		{"symbolic link", func(t *testing.T, path string) {
			write(t, path+".target")
			if err := os.Symlink(path+".target", path); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"link at the new name", func(t *testing.T, path string) {
			write(t, path+".target")
			if err := os.Symlink(path+".target", path+".new"); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"another daemon", func(t *testing.T, path string) {
			l, err := Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			serve(t, l, newKeeper(), nil)
		}, "another daemon answers there"},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "directory"},
		{"others may write", func(t *testing.T, path string) {
			if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
		}, "written to by others (mode 777)"},
		{"no directory", func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "control")
			tt.put(t, path)
			l, err := Listen(path)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			serve(t, l, newKeeper(), nil)
			if _, err := here(path).Status(t.Context()); err != nil {
				t.Error(err)
			}
			info, err := os.Lstat(path)
			if err != nil || info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != 0o666 {
				t.Errorf("%v, %v: want a socket for everybody", info, err)
			}
			if text, err := os.ReadFile(path + ".target"); err == nil && string(text) != "precious" {
				t.Errorf("what the link leads to is now %q", text)
			}
		})
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNotTheDaemon: whoever answers must be root; an impostor is asked nothing.
func TestNotTheDaemon(t *testing.T) {
	path := run(t, newKeeper(), nil)
	c := here(path)
	c.Server++
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "is not the daemon") {
		t.Errorf("%v, want that it is not the daemon", err)
	}
}

// TestBadServer: what a daemon says that is not well is an error, and waiting
// has an end.
func TestBadServer(t *testing.T) {
	for _, tt := range []struct{ name, says, want string }{
		{"nothing", "", "in the middle"},
		{"half", `{"v":1,"status":{"ver`, "in the middle"},
		{"no end", `{"v":1,"status":{"version":"x"}}` + "\n", "in the middle"},
		{"only end", `{"v":1,"end":true}` + "\n", "says nothing"},
		{"not JSON", "hello\n", "not a request"},
		{"two things", `{"v":1,"end":true,"status":{}}` + "\n", "two things"},
		{"later version", `{"v":9}` + "\n", "version 9, known is 1"},
		{"too long", strings.Repeat("x", MaxAnswer+1), "longer than"},
		{"unknown error", `{"v":1,"error":{"code":"moon","text":"full moon"}}` + "\n", "full moon"},
		{"silence", "wait", "no answer within"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "control")
			l, err := Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			over := make(chan struct{})
			defer close(over)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Read(make([]byte, MaxRequest))
				if tt.says == "wait" {
					<-over
				}
				_, _ = conn.Write([]byte(tt.says))
			}()
			c := here(path)
			if tt.says == "wait" {
				c.Patience = 50 * time.Millisecond
			}
			if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestUnknownAnswer: what a later daemon says besides is passed over.
func TestUnknownAnswer(t *testing.T) {
	a, err := decodeAnswer([]byte(`{"v":1,"weather":{"sky":"blue"}}`))
	if err != nil || a != (answer{V: 1}) {
		t.Errorf("%+v, %v", a, err)
	}
}
