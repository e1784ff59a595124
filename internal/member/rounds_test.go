package member

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/proc/proctest"
)

// TestChainIsNeverClean: a chain of processes, each of which starts the next
// and leaves, is one process at any time, that no single look may ever meet.
// No pass may say that all is clean while it lives.
func TestChainIsNeverClean(t *testing.T) {
	fs := openProc(t)
	chain := proctest.Start(t, proctest.Spec{Name: "chain", UID: spawnUID(), Setsid: true, Chain: true, Env: []string{markerA}})
	running := func() bool {
		select {
		case <-chain.Over():
			return false
		default:
			return true
		}
	}
	fresh := 0
	for range 25 {
		f := NewFinder(fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
		pass, err := f.Full(context.Background())
		f.Close()
		switch {
		case err != nil:
			t.Fatal(err)
		case !running():
			t.Fatal("the chain did not live through the test")
		case pass.Clean:
			t.Fatalf("clean while the chain runs: %+v", pass)
		}
		fresh += pass.Fresh
	}
	if fresh == 0 {
		t.Error("no link of the chain was ever found")
	}
	chain.Stop()
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	for range 200 {
		if pass := fullPass(t, f); pass.Clean {
			return
		}
	}
	t.Error("never clean after the chain's end")
}

// TestClosedReference: whoever closes a reference has done with the process.
func TestClosedReference(t *testing.T) {
	fs := openProc(t)
	tree := startMarked(t)
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	got, ok := findingOf(fullPass(t, f), tree)
	if !ok || got.Ref == nil {
		t.Fatalf("%+v", got)
	}
	if err := got.Ref.Close(); err != nil {
		t.Fatal(err)
	}
	if got, ok := findingOf(fullPass(t, f), tree); ok {
		t.Errorf("its reference was closed, but it is found again: %+v", got)
	}
}

func startMarked(t testing.TB) (pid int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/cat")
	cmd.Env, cmd.Stdin = []string{markerA}, r
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testUID(), Gid: testUID()}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	t.Cleanup(func() { _ = w.Close(); _ = cmd.Wait() })
	return cmd.Process.Pid
}

// crowd starts processes that wait for the end of the test: others of another
// user, own without and marked with the session's marker.
func crowd(t testing.TB, others, own, marked int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var started []*exec.Cmd
	t.Cleanup(func() {
		_ = w.Close()
		for _, cmd := range started {
			_ = cmd.Wait()
		}
	})
	defer r.Close() //nolint:errcheck // the processes have it
	for i := range others + own + marked {
		cmd := exec.Command("/bin/cat")
		cmd.Stdin, cmd.Env = r, []string{"HOME=/nonexistent", "PATH=/usr/bin:/bin", "LANG=C"}
		uid := testUID()
		switch {
		case i < others:
			uid++
		case i >= others+own:
			cmd.Env = append(cmd.Env, markerA)
		}
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		started = append(started, cmd)
	}
}

// TestSteadyPassAllocatesLittle: what a pass allocates does not grow with the
// processes that it looks at.
func TestSteadyPassAllocatesLittle(t *testing.T) {
	fs := openProc(t)
	target := Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}}
	measure := func() float64 {
		f := newFinder(t, fs, target)
		fullPass(t, f)
		least := testing.AllocsPerRun(1, func() { fullPass(t, f) })
		for range 30 { // processes of others come and go, and each new one costs
			least = min(least, testing.AllocsPerRun(1, func() { fullPass(t, f) }))
		}
		return least
	}
	few := measure()
	crowd(t, 40, 40, 20)
	many := measure()
	if many > few+20 {
		t.Errorf("%v allocations a pass, %v with 100 processes more", few, many)
	}
	t.Logf("%v allocations a pass, %v with 100 processes more", few, many)
}

func BenchmarkFull(b *testing.B) {
	fs := openProc(b)
	crowd(b, 800, 100, 100)
	target := Target{Entry: entryA(b, fs), Bound: Bound{UID: testUID()}}
	b.Run("steady", func(b *testing.B) {
		f := newFinder(b, fs, target)
		benchPass(b, f, 100)
		b.ReportAllocs()
		for b.Loop() {
			benchPass(b, f, 100)
		}
	})
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f := NewFinder(fs, target)
			benchPass(b, f, 100)
			f.Close()
		}
	})
	b.Run("nobody", func(b *testing.B) {
		target := target
		target.Entry.ID = sessionB
		f := newFinder(b, fs, target)
		benchPass(b, f, 0)
		b.ReportAllocs()
		for b.Loop() {
			benchPass(b, f, 0)
		}
	})
}

func benchPass(b *testing.B, f *Finder, want int) {
	pass, err := f.Full(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	members := 0
	for i := range pass.Findings {
		if pass.Findings[i].Member {
			members++
		}
	}
	if members != want {
		b.Fatalf("%d members, want %d", members, want)
	}
}

// TestDescriptorsRunOut: who gets no reference is no member yet and is named,
// the pass is not clean, and the next one goes on when others were closed.
func TestDescriptorsRunOut(t *testing.T) {
	fs := openProc(t)
	crowd(t, 0, 0, 30)
	target := Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}}
	f := newFinder(t, fs, target)
	free, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(free.Fd())
	_ = free.Close()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = next + 12
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}()
	ended, refused := 0, 0
	for range 30 {
		pass := fullPass(t, f)
		for _, got := range pass.Findings {
			switch {
			case got.Ref != nil:
				ended++
				if err := got.Ref.Close(); err != nil {
					t.Fatal(err)
				}
			case got.Member:
				t.Fatalf("a member without a reference: %+v", got)
			case got.Undecided && strings.Contains(got.Why, "no reference"):
				refused++
			}
		}
		if refused > 0 && pass.Clean {
			t.Fatal("clean, though references were refused")
		}
		if ended == 30 {
			break
		}
	}
	if ended != 30 || refused == 0 {
		t.Errorf("%d members in batches, %d refused meanwhile; want all 30, and some", ended, refused)
	}
}
