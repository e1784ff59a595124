package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/term"
)

// The test binary is also the child: TestMain runs the verbs.
const (
	hangVerb = "__hang" // reads its input and then hangs, longer than any test waits
	pidFile  = "child.pid"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case AppendVerb:
			os.Exit(AppendMain(os.Args[2:], os.Stdin))
		case hangVerb:
			_ = os.WriteFile(filepath.Join(os.Args[2], pidFile), []byte(strconv.Itoa(os.Getpid())), 0o600)
			_, _ = io.Copy(io.Discard, os.Stdin)
			<-time.After(5 * time.Minute)
			os.Exit(3)
		}
	}
	os.Exit(m.Run())
}

func testWriter(t *testing.T, verb string) *Writer {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &Writer{
		Runtime: filepath.Join(dir, "run"), State: filepath.Join(dir, "state"), Host: "ts1",
		Command: []string{self, verb}, Deadline: 30 * time.Second,
	}
}

func ids(t *testing.T, path string) string {
	t.Helper()
	records, problems, err := Read(path)
	if err != nil || problems != nil {
		t.Fatal(problems, err)
	}
	var all []string
	for _, r := range records {
		all = append(all, r.ID+" "+string(r.Event))
	}
	return strings.Join(all, ", ")
}

func lineCount(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

func TestWriter(t *testing.T) {
	t.Parallel()
	w := testWriter(t, AppendVerb)
	if err := w.Begin(beginning("a")); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, RuntimeFile(w.Runtime)); got != "a begin" {
		t.Errorf("after begin the runtime copy has %q", got)
	}
	if _, err := os.Stat(StateFile(w.State, w.Host)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("begin touched the lasting file: %v", err)
	}
	if err := w.Done(t.Context(), ending("a")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{RuntimeFile(w.Runtime), StateFile(w.State, w.Host)} {
		if got := ids(t, path); got != "a done" || lineCount(t, path) != 2 {
			t.Errorf("%s has %q in %d lines", path, got, lineCount(t, path))
		}
	}
}

// TestWriterFlush: one process records the beginning and another the end.
func TestWriterFlush(t *testing.T) {
	t.Parallel()
	w := testWriter(t, AppendVerb)
	if err := errors.Join(w.Flush(t.Context()), w.Begin(beginning("a")), w.Flush(t.Context()), w.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, StateFile(w.State, w.Host)); got != "a begin" {
		t.Errorf("after the beginning: %q", got)
	}
	other := &Writer{Runtime: w.Runtime, State: w.State, Host: w.Host, Command: w.Command, Deadline: w.Deadline}
	if err := other.Done(t.Context(), ending("a")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{RuntimeFile(w.Runtime), StateFile(w.State, w.Host)} {
		if got := ids(t, path); got != "a done" || lineCount(t, path) != 2 {
			t.Errorf("%s has %q in %d lines", path, got, lineCount(t, path))
		}
	}
}

func TestWriterChildHangs(t *testing.T) {
	t.Parallel()
	// Where the child did not get to run before the deadline, on a busy
	// machine, nothing is proved: then again, with a later one.
	for deadline := 2 * time.Second; !childHangs(t, deadline); deadline *= 3 {
		if deadline > 30*time.Second {
			t.Fatalf("the child never ran within %v", deadline)
		}
	}
}

// childHangs checks what comes of a child that hangs up to the deadline;
// false: it did not run.
func childHangs(t *testing.T, deadline time.Duration) bool {
	t.Helper()
	w := testWriter(t, hangVerb)
	if err := os.MkdirAll(w.State, 0o700); err != nil {
		t.Fatal(err)
	}
	w.Deadline = deadline
	err := w.Done(t.Context(), ending("a"))
	want := fmt.Sprintf("record not written to %s: no answer within %s: does its file system hang?; kept in %s",
		StateFile(w.State, w.Host), term.Duration(deadline), RuntimeFile(w.Runtime))
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := ids(t, RuntimeFile(w.Runtime)); got != "a done" {
		t.Errorf("the runtime copy has %q", got)
	}
	var pid []byte
	childrenAreGone(t, w.State, func() bool {
		pid, _ = os.ReadFile(filepath.Join(w.State, pidFile))
		_, err := os.Stat("/proc/" + string(pid))
		return len(pid) > 0 && err == nil // not reaped
	})
	return len(pid) > 0
}

// childrenAreGone waits until no child has text among its arguments, and
// another thing does not hold either. A child may still be on its way: none
// is to be seen for a while.
func childrenAreGone(t *testing.T, text string, or func() bool) {
	t.Helper()
	guard := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; quiet < 20; quiet++ {
		if mentions(t, text) || or() {
			quiet = 0
		}
		select {
		case <-tick.C:
		case <-guard:
			t.Fatal("a child is still there")
		}
	}
}

func TestWriterStopsWithItsContext(t *testing.T) {
	t.Parallel()
	w := testWriter(t, hangVerb)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5 {
		if err := w.Done(ctx, ending("a")); err == nil || !strings.Contains(err.Error(), "context canceled") {
			t.Errorf("got %v", err)
		}
	}
	childrenAreGone(t, w.State, func() bool { return false })
}

// mentions reports whether a child of this process has text among its arguments.
// Not by a look at all of /proc, which takes seconds on a full machine.
func mentions(t *testing.T, text string) bool {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Fatalf("no list of this process's children: %v", err)
	}
	for _, list := range lists {
		children, _ := os.ReadFile(list) // the thread may have ended
		for _, pid := range strings.Fields(string(children)) {
			if args, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && strings.Contains(string(args), text) {
				return true
			}
		}
	}
	return false
}

func TestWriterErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, w *Writer)
		want    string // with STATE and RUNTIME for the two files
	}{
		{
			"no such command", func(_ *testing.T, w *Writer) { w.Command = []string{"/nonexistent/xexit-main", AppendVerb} },
			"record not written to STATE: start the child that writes it: fork/exec /nonexistent/xexit-main: no such file or directory; kept in RUNTIME",
		},
		{
			"no command", func(_ *testing.T, w *Writer) { w.Command = nil },
			"record not written to STATE: no command to write it with; kept in RUNTIME",
		},
		{
			"state is a file", func(t *testing.T, w *Writer) { write(t, w.State, "") },
			"record not written to STATE: a part of its path is no directory (ENOTDIR); kept in RUNTIME",
		},
		{
			"state is a link", func(t *testing.T, w *Writer) { link(t, w) },
			"record not written to STATE: it is a symbolic link (ELOOP): remove it; kept in RUNTIME",
		},
		{
			"runtime is a file", func(t *testing.T, w *Writer) { write(t, w.Runtime, "") },
			"record not written to RUNTIME: a part of its path is no directory (ENOTDIR)",
		},
		{
			"neither", func(t *testing.T, w *Writer) { write(t, w.Runtime, ""); write(t, w.State, "") },
			"record not written to RUNTIME: a part of its path is no directory (ENOTDIR)\n" +
				"record not written to STATE: a part of its path is no directory (ENOTDIR)",
		},
		{"no home", func(_ *testing.T, w *Writer) { w.State = "" }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := testWriter(t, AppendVerb)
			state := StateFile(w.State, w.Host)
			c.prepare(t, w)
			got := ""
			if err := w.Done(t.Context(), ending("a")); err != nil {
				got = strings.NewReplacer(state, "STATE", RuntimeFile(w.Runtime), "RUNTIME").Replace(err.Error())
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func link(t *testing.T, w *Writer) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(w.State, 0o700), os.Symlink("/dev/null", StateFile(w.State, w.Host))); err != nil {
		t.Fatal(err)
	}
}

// needRoot skips what takes a mount where there is no right to one.
func needRoot(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func mount(t *testing.T, fstype, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("xexit-test", dir, fstype, syscall.MS_NOSUID|syscall.MS_NODEV, options)
	needRoot(t, os.NewSyscallError("mount "+fstype, err))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("umount %s: %v", dir, err)
		}
	})
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := testWriter(t, AppendVerb)
	mount(t, "tmpfs", w.State, "size=64k")
	hog, err := os.Create(filepath.Join(w.State, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hog.Close() })
	if _, err := io.Copy(hog, io.LimitReader(zeros{}, 1<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if err := w.Begin(beginning("a")); err != nil {
		t.Fatal(err)
	}
	err = w.Done(t.Context(), ending("a"))
	want := fmt.Sprintf("record not written to %s: disk full (ENOSPC): free some space there; kept in %s",
		StateFile(w.State, w.Host), RuntimeFile(w.Runtime))
	var missing *NotWritten
	if !errors.As(err, &missing) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := ids(t, RuntimeFile(w.Runtime)); got != "a done" {
		t.Errorf("the runtime copy has %q", got)
	}
	if err := hog.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := w.Done(t.Context(), ending("b")); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if got := ids(t, StateFile(w.State, w.Host)); !strings.Contains(got, "b done") {
		t.Errorf("the lasting file has %q", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestHungFileSystem has a FUSE mount whose server never answers: everything
// that touches it hangs, as below a dead NFS server.
func TestHungFileSystem(t *testing.T) {
	t.Parallel()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	needRoot(t, err)
	t.Cleanup(func() { _ = fuse.Close() }) // aborts the connection: whoever hangs goes on
	w := testWriter(t, AppendVerb)
	mount(t, "fuse", w.State, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd()))

	touch := exec.CommandContext(t.Context(), "stat", filepath.Join(w.State, "x"))
	touch.Env = []string{"PATH=/usr/bin:/bin"}
	if err := touch.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- touch.Wait() }()

	w.Deadline = time.Second
	if err := w.Begin(beginning("a")); err != nil {
		t.Fatal(err)
	}
	err = w.Done(t.Context(), ending("a"))
	if err == nil || !strings.Contains(err.Error(), "no answer within 1.0 s: does its file system hang?; kept in "+RuntimeFile(w.Runtime)) {
		t.Errorf("got %v", err)
	}
	if got := ids(t, RuntimeFile(w.Runtime)); got != "a done" || lineCount(t, RuntimeFile(w.Runtime)) != 2 {
		t.Errorf("the runtime copy has %q", got)
	}
	select {
	case err := <-gone:
		t.Errorf("the file system answered, so nothing was proved: %v", err)
	default:
	}
	_ = touch.Process.Kill()
	<-gone
}
