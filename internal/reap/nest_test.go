package reap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// hang is how long a test may wait for what must happen.
const hang = 60 * time.Second

func openProc(t testing.TB) *proc.FS {
	t.Helper()
	fs, err := proc.New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

func hangGuard(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return ctx
}

func anyone(*proc.Ref) error { return nil }

// startNest starts a subreaper with count children and returns a Looker for
// all its descendants, once that many lines "ready" were read. Whoever is
// left at the end of the test is killed.
func startNest(t testing.TB, lines int, args ...string) *descendants {
	t.Helper()
	cmd := again("nest", args...)
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &descendants{fs: openProc(t), root: cmd.Process.Pid, refs: map[session.ProcID]*proc.Ref{}}
	t.Cleanup(func() { endNest(t, cmd, in, d) })
	awaitLines(t, out, map[string]int{"ready": lines, "nest": 1})
	return d
}

// awaitLines reads until each of the lines in want came so often.
func awaitLines(t testing.TB, out io.Reader, want map[string]int) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		left := 0
		for _, n := range want {
			left += n
		}
		scanner := bufio.NewScanner(out)
		for left > 0 && scanner.Scan() {
			if want[scanner.Text()] > 0 {
				want[scanner.Text()]--
				left--
			}
		}
		if left > 0 {
			done <- fmt.Errorf("the helpers ended before all were ready: %d lines missing", left)
		}
		close(done)
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(hang):
		t.Fatal("the helpers hang")
	}
}

func endNest(t testing.TB, cmd *exec.Cmd, in io.Closer, d *descendants) {
	d.only = nil
	deadline := time.Now().Add(hang)
	for time.Now().Before(deadline) {
		look, err := d.Look(context.Background())
		if err != nil {
			t.Errorf("end what is left: %v", err)
			break
		}
		if len(look.End) == 0 && look.Clean {
			break
		}
		for _, target := range look.End {
			_ = target.Ref.Signal(syscall.SIGKILL) // dead already, or it comes again
		}
	}
	in.Close()
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("end the nest: %v", err)
	}
	_ = cmd.Wait()
	for _, ref := range d.refs {
		ref.Close()
	}
}

// descendants is a Looker: all living descendants of a subreaper. It reads
// who is there in ascending order, then who was born meanwhile until a round
// finds nobody to be ended and none that vanished: who dies before he is read
// has left his children, if any, at greater numbers, and to the subreaper.
type descendants struct {
	fs   *proc.FS
	root int
	refs map[session.ProcID]*proc.Ref
	only func(stat procStat) bool // nil: all
}

func (d *descendants) Look(context.Context) (Look, error) {
	var look Look
	before, err := d.fs.LastPID()
	if err != nil {
		return look, err
	}
	stats, err := snapshot()
	if err != nil {
		return look, err
	}
	fresh, trouble := 0, 0
	visit := func(pid int) {
		target, isNew, err := d.target(stats, pid)
		switch {
		case err != nil:
			trouble++
		case target.Ref != nil:
			look.End = append(look.End, target)
			if isNew {
				fresh++
				trouble++
			}
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(stats)) {
		visit(pid)
	}
	from, wrapped := before, false
	for range 20 { // whoever was born meanwhile
		last, err := d.fs.LastPID()
		if err != nil {
			return look, err
		}
		wrapped = wrapped || last < from
		trouble = 0
		err = d.fs.Pids(from, func(pid int) error {
			if _, known := stats[pid]; known {
				return nil
			}
			var err error
			if stats[pid], err = readStat(pid); err != nil {
				trouble++
				return nil
			}
			visit(pid)
			return nil
		})
		if err != nil {
			return look, err
		}
		if from = last; trouble == 0 {
			break
		}
	}
	look.Clean = fresh == 0 && trouble == 0 && !wrapped
	return look, nil
}

// target is the process pid, without a Ref if it is not one to be ended.
func (d *descendants) target(stats map[int]procStat, pid int) (target Target, isNew bool, err error) {
	stat := stats[pid]
	if stat.state == "Z" || !d.isBelow(stats, pid) || d.only != nil && !d.only(stat) {
		return Target{}, false, nil
	}
	ref, err := d.fs.Open(pid)
	if err != nil {
		return Target{}, false, err
	}
	known := d.refs[ref.ID()]
	if known == nil {
		d.refs[ref.ID()] = ref
		return Target{Ref: ref, TTY: stat.tty != 0}, true, nil
	}
	ref.Close()
	return Target{Ref: known, TTY: stat.tty != 0}, false, nil
}

func (d *descendants) isBelow(stats map[int]procStat, pid int) bool {
	for range len(stats) {
		pid = stats[pid].ppid
		if pid == d.root {
			return true
		}
		if pid <= 1 {
			return false
		}
	}
	return false
}

// living are the descendants that are not zombies, from /proc.
func (d *descendants) living(t testing.TB) []procStat {
	t.Helper()
	stats, err := snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var living []procStat
	for pid, stat := range stats {
		if d.isBelow(stats, pid) && stat.state != "Z" && stat.state != "X" {
			living = append(living, stat)
		}
	}
	return living
}

func (d *descendants) wantNobody(t testing.TB) {
	t.Helper()
	if left := d.living(t); len(left) > 0 {
		t.Errorf("still there in /proc: %+v", left)
	}
}

// procStat is read here and not by package proc, so that the truth does not
// depend on what is tested.
type procStat struct {
	pid, ppid, tty int
	state, comm    string
}

// snapshot reads all processes, in ascending order.
func snapshot() (map[int]procStat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(entries))
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	stats := make(map[int]procStat, len(pids))
	for _, pid := range pids {
		if stat, err := readStat(pid); err == nil {
			stats[pid] = stat
		}
	}
	return stats, nil
}

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	stat := procStat{pid: pid, state: fields[0], comm: string(text[open+1 : end])}
	if stat.ppid, err = strconv.Atoi(fields[1]); err != nil {
		return stat, err
	}
	stat.tty, err = strconv.Atoi(fields[4])
	return stat, err
}
