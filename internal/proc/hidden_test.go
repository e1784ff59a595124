package proc_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

func TestHidePID(t *testing.T) {
	t.Parallel()
	const line = "22 28 0:21 / /proc rw,nosuid shared:13 - proc proc rw"
	for text, want := range map[string]string{
		"":                                       "",
		line + "\n":                              "",
		line + ",hidepid=0":                      "",
		line + ",hidepid=off":                    "",
		line + ",gid=4,hidepid=2":                "2",
		line + ",hidepid=invisible":              "invisible",
		line + ",hidepid=ptraceable":             "ptraceable",
		line + ",hidepid=2\n" + line:             "",
		"1 2 0:3 / /x rw - proc x hidepid=2":     "",
		"1 2 0:3 / /proc rw - tmpfs x hidepid=2": "",
	} {
		if got := proc.HidePID(text, "/proc"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// cat starts a child that leaves at the end of the test at the latest.
func cat(t *testing.T) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("/bin/cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := false
	end = func() {
		if !over {
			over = true
			_, _ = stdin.Close(), cmd.Wait()
		}
	}
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

// TestChildren: whichever thread started it.
func TestChildren(t *testing.T) {
	fs := open(t)
	if !fs.ListsChildren() {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal("this kernel does not list children")
		}
		t.Skip("this kernel does not list children")
	}
	me, err := fs.Stat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	first, end := cat(t)
	var second int
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		second, _ = cat(t)
	}()
	<-done
	list, err := fs.Children(me.PID, []int{7})
	if err != nil || list[0] != 7 || !slices.Contains(list, first) || !slices.Contains(list, second) {
		t.Errorf("%v, %v; want 7, and %d and %d", list, err, first, second)
	}
	if !fs.HasChild(me.ID(), first) || fs.HasChild(me.ID(), me.PID) {
		t.Error("our child is none of ours, or we are our own")
	}
	if other := (session.ProcID{PID: me.PID, Start: me.Start + 1}); fs.HasChild(other, first) {
		t.Error("our child belongs to another process by our number")
	}

	ref, err := fs.OpenChild(first, me.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer ref.Close()
	if want := (session.ProcID{PID: first}); ref.ID() != want || ref.Signal(0) != nil {
		t.Errorf("%v, want %v", ref.ID(), want)
	}
	if r, err := fs.OpenChild(me.PID, me.ID()); !errors.Is(err, proc.ErrGone) {
		t.Errorf("opened ourselves as our child: %v, %v", r, err)
	}
	end()
	if r, err := fs.OpenChild(first, me.ID()); !errors.Is(err, proc.ErrGone) {
		t.Errorf("opened the dead: %v, %v", r, err)
	}
	if _, err := fs.Children(first, nil); !errors.Is(err, proc.ErrGone) {
		t.Errorf("children of the dead: %v", err)
	}
}

func TestIsProcess(t *testing.T) {
	fs := open(t)
	tid := make(chan int)
	release := make(chan struct{})
	defer close(release)
	for range 2 { // one of them is not on the first thread
		go func() {
			runtime.LockOSThread() // not unlocked: the thread ends with this
			tid <- syscall.Gettid()
			<-release
		}()
	}
	thread := <-tid
	if other := <-tid; thread == os.Getpid() {
		thread = other
	}
	if is, dead, err := fs.IsProcess(os.Getpid()); err != nil || !is || dead {
		t.Errorf("we: %v, %v, %v", is, dead, err)
	}
	if is, _, err := fs.IsProcess(thread); err != nil || is {
		t.Errorf("our thread: %v, %v", is, err)
	}
	dead, end := cat(t)
	end()
	if _, _, err := fs.IsProcess(dead); !errors.Is(err, proc.ErrGone) {
		t.Errorf("the dead: %v", err)
	}
}

func TestSignalable(t *testing.T) {
	fs := open(t)
	limit, err := fs.MaxPID()
	if err != nil {
		t.Fatal(err)
	}
	child, _ := cat(t)
	var found []int
	start := time.Now()
	fs.Signalable(0, limit, func(pid int) { found = append(found, pid) })
	t.Logf("%d numbers in %v", limit, time.Since(start))
	if !slices.IsSorted(found) || !slices.Contains(found, child) || !slices.Contains(found, os.Getpid()) {
		t.Errorf("we (%d) or our child (%d) are missing in %v", os.Getpid(), child, found)
	}
	fs.Signalable(child, child, func(pid int) { t.Error("after " + strconv.Itoa(child) + " comes " + strconv.Itoa(pid)) })
	fs.Signalable(child-1, child, func(pid int) {
		if pid != child {
			t.Errorf("%d, want %d", pid, child)
		}
		child = 0
	})
	if child != 0 {
		t.Errorf("%d was left out", child)
	}
}
