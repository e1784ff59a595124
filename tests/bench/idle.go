package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// counts of displays in one process; of processes, for the rival.
var counts = []int{1, 100, 1000}

// idleFor is how long the watchers are left alone: two rounds of pings at the
// pace of a unix socket.
const idleFor = time.Minute

// rivalArgs: a question every 5 s, the end after 20 s without an answer.
var rivalArgs = []string{"5", "20"}

// firstFake is a display number that no real server has.
const firstFake = 20000

// crowd is some processes that watch some displays.
type crowd struct {
	name     string
	displays int
	started  []*exec.Cmd
	group    string // memory cgroup (v1); "": there is none
}

// idle compares what watching costs while nothing happens: all displays in one
// process, and the rival's process for each. The displays are fakes, which
// answer what a watcher asks: a thousand real servers fit on no machine. All
// crowds are there at once, so that each program's text is shared and every
// crowd has had the same minute.
func idle(t *tools, rounds int) (rows []row, err error) {
	byName := map[string]*row{}
	var order []string
	add := func(what, unit, goal string, value float64) {
		r := byName[what]
		if r == nil {
			r = &row{what: what, unit: unit, goal: goal}
			byName[what] = r
			order = append(order, what)
		}
		r.values = append(r.values, value)
	}
	for range rounds {
		if err := idleRound(t, add); err != nil {
			return nil, err
		}
	}
	for _, what := range order {
		rows = append(rows, *byName[what])
	}
	return rows, nil
}

func idleRound(t *tools, add func(what, unit, goal string, value float64)) (err error) {
	stop, names, err := startFakes(t, counts[len(counts)-1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	var crowds []*crowd
	defer func() {
		for _, c := range crowds {
			err = errors.Join(err, c.end())
		}
	}()
	for _, n := range counts {
		c := &crowd{name: "xexit, one process", displays: n}
		crowds = append(crowds, c)
		if err := c.start(strings.Join(names[:n], "\n")+"\n", nil, t.many); err != nil {
			return err
		}
	}
	for _, n := range counts {
		c := &crowd{name: "C/Xlib, a process each", displays: n}
		crowds = append(crowds, c)
		for _, name := range names[:n] {
			argv := append(append([]string{t.rival}, rivalArgs...), "/bin/true")
			if err := c.start("", []string{"DISPLAY=" + name}, argv...); err != nil {
				return err
			}
		}
	}
	return measureIdle(crowds, add)
}

// measureIdle lets the idle time pass and adds up what the crowds have and used.
func measureIdle(crowds []*crowd, add func(what, unit, goal string, value float64)) error {
	before := make([]float64, len(crowds))
	for i, c := range crowds {
		var err error
		if before[i], err = c.cpu(); err != nil {
			return err
		}
	}
	start := time.Now()
	<-time.After(idleFor)
	passed := time.Since(start).Seconds()
	base := map[string]float64{} // cgroup memory of one display: what a process costs
	for i, c := range crowds {
		used, err := c.cpu()
		if err != nil {
			return err
		}
		private, err := c.private()
		if err != nil {
			return err
		}
		of := fmt.Sprintf("%s, %d displays: ", c.name, c.displays)
		n := float64(c.displays)
		memoryGoal, cpuGoal := "", ""
		if c.displays == 1000 && len(c.started) == 1 { // all in one process
			memoryGoal, cpuGoal = "≤ 8 kB", "≤ 0.2 %"
		}
		add(of+"private memory a display", "kB", memoryGoal, private/n)
		if kB, ok := c.charged(); ok && c.displays == 1 {
			base[c.name] = kB
		} else if ok {
			add(of+"a further display, kernel's share included", "kB", "", (kB-base[c.name])/(n-1))
		}
		add(of+"CPU while idle", "% of a core", cpuGoal, (used-before[i])/passed*100)
	}
	return nil
}

// startFakes runs n fake displays in a process of their own.
func startFakes(t *tools, n int) (stop func() error, names []string, err error) {
	cmd := exec.Command(t.fakes, strconv.Itoa(firstFake), strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			return stop, names, nil
		}
		names = append(names, lines.Text())
	}
	return nil, nil, errors.Join(errors.New("the fake displays have not started"), stop())
}

// start adds a process to the crowd and waits until it watches.
func (c *crowd) start(input string, env []string, argv ...string) error {
	c.enter()
	cmd := exec.Command(argv[0], argv[1:]...)
	if c.group != "" {
		cmd = exec.Command("/bin/sh", append([]string{"-c", `echo $$ > "$0"; exec "$@"`, c.group + "/cgroup.procs"}, argv...)...)
	}
	cmd.Env = append(env, "PATH=/usr/bin:/bin", "GOMAXPROCS=1") // as xexit sets it for its watchers
	cmd.Stdin = strings.NewReader(input)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.started = append(c.started, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "open\n" {
		return fmt.Errorf("%s: %q: %w", argv[0], line, err)
	}
	return nil
}

// enter makes the crowd's memory cgroup, where that can be done.
func (c *crowd) enter() {
	if c.group != "" || len(c.started) > 0 {
		return
	}
	if dir, err := os.MkdirTemp("/sys/fs/cgroup/memory", "xexit-bench-"); err == nil {
		c.group = dir
	}
}

func (c *crowd) end() (err error) {
	for _, cmd := range c.started {
		err = errors.Join(err, cmd.Process.Kill())
	}
	for _, cmd := range c.started {
		_ = cmd.Wait() // it was killed
	}
	if c.group != "" {
		err = errors.Join(err, os.Remove(c.group))
	}
	return err
}

// private is the private memory of all processes, in kB.
func (c *crowd) private() (kB float64, err error) {
	for _, cmd := range c.started {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		n, err := privateOf(string(text))
		if err != nil {
			return 0, err
		}
		kB += n
	}
	return kB, nil
}

// charged is what the kernel has charged the crowd for, its own structures
// included, in kB.
func (c *crowd) charged() (kB float64, ok bool) {
	if c.group == "" {
		return 0, false
	}
	text, err := os.ReadFile(c.group + "/memory.usage_in_bytes")
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	return n / 1024, err == nil
}

// cpu is the time that all threads have run for, in seconds
// (/proc/PID/task/TID/schedstat, in nanoseconds).
func (c *crowd) cpu() (seconds float64, err error) {
	for _, cmd := range c.started {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		for _, task := range tasks {
			f, err := os.Open(task)
			if err != nil {
				return 0, err
			}
			text, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return 0, err
			}
			ns, _, _ := strings.Cut(string(text), " ")
			n, err := strconv.ParseFloat(ns, 64)
			if err != nil {
				return 0, err
			}
			seconds += n / 1e9
		}
	}
	return seconds, nil
}
