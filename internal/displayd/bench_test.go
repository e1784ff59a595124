package displayd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"xexit/internal/display"
	"xexit/internal/display/displaytest"
	"xexit/internal/linux"
)

// directly opens displays in this process: the figures are to be the worker's.
func directly(_ context.Context, o Opening) error {
	name := ""
	for i, arg := range o.Argv {
		if arg == "--display" {
			name = o.Argv[i+1]
		}
	}
	c, err := display.Connect(context.Background(), display.Options{Name: name})
	if err != nil {
		return failure(err).send(int(o.Socket.Fd()), none)
	}
	defer linux.CloseFD(c.FD)
	return success(c).send(int(o.Socket.Fd()), c.FD)
}

// BenchmarkThousandDisplays is what the worker costs that watches a thousand
// displays: its private memory and its processor time in twenty seconds of
// nothing happening.
func BenchmarkThousandDisplays(b *testing.B) {
	const n = 1000
	s := newService(b)
	o := s.options()
	o.Opener = directly
	for b.Loop() {
		r := runClient(b, o)
		s.start()
		for i := range n {
			srv := fake(b, displaytest.Options{})
			spec := here(srv.Display())
			spec.LostAfter = 0
			if err := r.Watch(strconv.Itoa(i), spec); err != nil {
				b.Fatal(err)
			}
		}
		for i := range n {
			r.await(strconv.Itoa(i), Opened, 0)
		}
		before := used(b, s.cmd.Process.Pid)
		pause(b.Context(), 20*time.Second)
		b.ReportMetric(float64(used(b, s.cmd.Process.Pid)-before)/float64(time.Millisecond), "ms-CPU-in-20s")
		memory := rollup(b, s.cmd.Process.Pid)
		b.ReportMetric(float64(memory["Private_Clean"]+memory["Private_Dirty"]), "kB-USS")
		b.ReportMetric(float64(memory["Private_Dirty"]), "kB-dirty")
		b.ReportMetric(float64(memory["Rss"]), "kB-RSS")
		s.kill()
		r.stop()
	}
}

// used is the processor time of a process (proc(5), fields 14 and 15 of stat).
func used(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	var ticks int
	for _, field := range f[11:13] {
		t, err := strconv.Atoi(string(field))
		if err != nil {
			b.Fatal(err)
		}
		ticks += t
	}
	return time.Duration(ticks) * time.Second / linux.TicksPerSecond
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
