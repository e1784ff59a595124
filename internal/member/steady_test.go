package member

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"xexit/internal/proc"
)

// stillCrowd is a tree that looks like /proc with so many processes of ours in
// it, where nobody comes or goes. No reference can be opened to any of them.
func stillCrowd(t testing.TB, processes int) *proc.FS {
	t.Helper()
	root := t.TempDir()
	same := map[string]string{"sessionid": "4294967295", "cgroup": "0::/a\n", "environ": "HOME=/nonexistent\x00LANG=C\x00"}
	for name, text := range same {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Behind the parent's number come fields that are 0 but for threads, start and the environment's end.
	fields := strings.Fields(strings.Repeat("0 ", 49))
	fields[0], fields[17], fields[19], fields[48] = "S", "1", "5000", "140737488351208"
	for pid := 100; pid < 100+processes; pid++ {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		fields[1] = strconv.Itoa(max(pid/4, 1)) // its parent
		stat := fmt.Sprintf("%d (still) %s\n", pid, strings.Join(fields, " "))
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600); err != nil {
			t.Fatal(err)
		}
		for name := range same {
			if err := os.Link(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	fs, err := proc.New(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() })
	return fs
}

// still is what looks at the whole crowd.
func still(t testing.TB, processes int) (look func()) {
	t.Helper()
	target := Target{Entry: entryA(t, openProc(t)), Bound: Bound{UID: uint32(os.Getuid())}}
	f := newFinder(t, stillCrowd(t, processes), target)
	return func() {
		pass, err := f.All(context.Background())
		if err != nil || len(pass.Findings) != processes || pass.Unknown != 0 {
			t.Fatalf("%d of %d found, %d unknown: %v", len(pass.Findings), processes, pass.Unknown, err)
		}
	}
}

// TestSteadyLookAllocatesNothing: a look at 2000 processes that are known
// allocates what one at 50 does. Most of it is sorting the list of a tree that is no
// proc file system.
func TestSteadyLookAllocatesNothing(t *testing.T) {
	allocations := func(processes int) float64 {
		look := still(t, processes)
		look()
		return testing.AllocsPerRun(3, look)
	}
	few, many := allocations(50), allocations(2000)
	if many > few+30 {
		t.Errorf("%v allocations for 50 processes, %v for 2000", few, many)
	}
	t.Logf("%v allocations for 50 processes, %v for 2000", few, many)
}

func BenchmarkSteadyLook(b *testing.B) {
	look := still(b, 5000)
	look()
	b.ReportAllocs()
	for b.Loop() {
		look()
	}
}
