package display

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
)

// bench starts a real server for a benchmark; it is a child of a test, whose
// helpers it borrows.
func benchXvfb(b *testing.B) (name string, kill func()) {
	b.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer read.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "64x64x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{write}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	write.Close()
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return ":" + strings.TrimSpace(line), func() {
		_ = cmd.Process.Kill()
		go func() { _ = cmd.Wait() }()
	}
}

// BenchmarkServerKilled is the time from SIGKILL of an Xvfb to Run's return,
// and from the first sign of it.
func BenchmarkServerKilled(b *testing.B) {
	var all, decision []time.Duration
	for b.Loop() {
		b.StopTimer()
		name, kill := benchXvfb(b)
		w, err := Open(b.Context(), Options{Name: name})
		if err != nil {
			b.Fatal(err)
		}
		killed := make(chan time.Time, 1)
		b.StartTimer()
		go func() {
			at := time.Now()
			kill()
			killed <- at
		}()
		end, err := w.Run(context.Background())
		took := time.Since(<-killed)
		if err != nil {
			b.Fatal(err)
		}
		all, decision = append(all, took), append(decision, end.Took)
		_ = w.Close()
	}
	slices.Sort(all)
	slices.Sort(decision)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(all[len(all)/2]), "ms-kill-to-end")
	b.ReportMetric(ms(decision[len(decision)/2]), "ms-EOF-to-end")
	b.ReportMetric(ms(decision[len(decision)-1]), "ms-EOF-to-end-max")
}

// BenchmarkFootprint is the private memory of a process that only watches,
// where another one shares the program's text with it: on a host with a single
// session that text, about 2 MB of page cache, counts as private too.
func BenchmarkFootprint(b *testing.B) {
	program := filepath.Join(b.TempDir(), "minimal")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./testdata/minimal")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	srv, err := displaytest.Start(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer srv.PullCable()
	for _, procs := range []string{"1", "2"} {
		b.Run("GOMAXPROCS="+procs, func(b *testing.B) {
			run := func() *exec.Cmd {
				cmd := exec.Command(program)
				cmd.Env = []string{"DISPLAY=" + srv.Display(), "GOMAXPROCS=" + procs}
				out, err := cmd.StdoutPipe()
				if err != nil {
					b.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
					b.Fatal(err)
				}
				return cmd
			}
			other := run()
			defer func() {
				_ = other.Process.Kill()
				_ = other.Wait()
			}()
			var uss, pss []int
			for b.Loop() {
				cmd := run()
				memory := rollup(b, cmd.Process.Pid)
				uss = append(uss, memory["Private_Clean"]+memory["Private_Dirty"])
				pss = append(pss, memory["Pss"])
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
			slices.Sort(uss)
			slices.Sort(pss)
			b.ReportMetric(float64(uss[len(uss)/2]), "kB-USS")
			b.ReportMetric(float64(pss[len(pss)/2]), "kB-PSS")
		})
	}
}

// rollup reads /proc/PID/smaps_rollup (proc(5)), in kB.
func rollup(b *testing.B, pid int) map[string]int {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	sizes := map[string]int{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kB" {
			sizes[strings.TrimSuffix(f[0], ":")], _ = strconv.Atoi(f[1])
		}
	}
	return sizes
}

// BenchmarkObserve is what a display's machine does with one answer and the
// question after it.
func BenchmarkObserve(b *testing.B) {
	srv, err := displaytest.Start(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer srv.PullCable()
	w, err := Open(b.Context(), Options{Name: srv.Display(), Interval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	b.ReportAllocs()
	for b.Loop() {
		w.target.observe(Observation{Kind: Answer})
		w.target.observe(Observation{Kind: Command})
		w.target.observe(Observation{Kind: Tick})
	}
}
