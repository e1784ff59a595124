package gauntlet

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Cell is one way against one ender.
type Cell struct {
	Way   Way
	Ender Ender
	Outcome
	Err error
	// Wrong says what is not as it must be; nil for rivals, which must nothing.
	Wrong []string
}

// RunAll runs every way against every ender, in so many containers at once,
// and tells each cell as it comes. The cells are in the order of the table.
func RunAll(stage string, ways []Way, enders []Ender, arenas int, tell func(Cell)) ([]Cell, error) {
	var cells []Cell
	for _, w := range ways {
		for _, e := range enders {
			cells = append(cells, Cell{Way: w, Ender: e})
		}
	}
	var mu, bomb sync.Mutex
	var failed error
	var running sync.WaitGroup
	for _, kill := range []bool{false, true} {
		queue := make(chan *Cell, len(cells))
		for i := range cells {
			if cells[i].Ender.Kill == kill {
				queue <- &cells[i]
			}
		}
		close(queue)
		for range min(arenas, len(queue)) {
			running.Add(1)
			go func() {
				defer running.Done()
				if err := work(stage, kill, queue, &bomb, func(c Cell) { mu.Lock(); defer mu.Unlock(); tell(c) }); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = err
				}
			}()
		}
		running.Wait()
	}
	return cells, failed
}

// work runs cells in a container, and in a new one after one that failed: what
// it left is not known. Bombs go off one at a time: together they would show
// what the machine can bear.
func work(stage string, kill bool, queue <-chan *Cell, bomb *sync.Mutex, tell func(Cell)) error {
	var a *Arena
	for c := range queue {
		if a == nil {
			var err error
			if a, err = NewArena(stage, kill); err != nil {
				return err
			}
		}
		if c.Way.Bomb {
			bomb.Lock()
		}
		c.Outcome, c.Err = a.Run(c.Way, c.Ender)
		if c.Way.Bomb {
			bomb.Unlock()
		}
		c.judge()
		tell(*c)
		if c.Err != nil {
			_ = a.Close() // the cell's error is what counts
			a = nil
		}
	}
	if a == nil {
		return nil
	}
	return a.Close()
}

// judge compares with what was written down before.
func (c *Cell) judge() {
	if c.Err != nil {
		c.Wrong = append(c.Wrong, c.Err.Error())
		return
	}
	if c.Ender.Position == Nowhere {
		if c.Ender.Name == Control().Name && len(c.Left) == 0 {
			c.Wrong = append(c.Wrong, "it does not outlive a logout, so it proves nothing")
		}
		return
	}
	if len(c.Hurt) > 0 {
		c.Wrong = append(c.Wrong, "wrong kills: "+strings.Join(c.Hurt, ", "))
	}
	if len(c.Left) > 0 && c.Way.May[c.Ender.Position] == "" {
		c.Wrong = append(c.Wrong, "survivors: "+strings.Join(c.Left, ", "))
	}
	if named := c.named(); len(c.Left) > 0 && !c.Way.Bomb {
		for _, pid := range c.LeftPIDs {
			if n := inner(pid); n != 0 && named[n] == "" {
				c.Wrong = append(c.Wrong, fmt.Sprintf("process %d is left, and is not named", n))
			}
		}
	}
}

// named are the processes, in the container's numbers, that the record says
// are left, with the reason.
func (c *Cell) named() map[int]string {
	type process struct {
		PID     int    `json:"pid"`
		Why     string `json:"why"`
		Cause   string `json:"cause"`
		Verdict string `json:"verdict"`
	}
	type record struct {
		Event                           string
		Processes, Survivors, Undecided []process
	}
	var records []record
	if err := json.Unmarshal([]byte(c.Text), &records); err != nil {
		var one record
		if err := json.Unmarshal([]byte(c.Text), &one); err != nil {
			return nil
		}
		records = []record{one}
	}
	named := map[int]string{}
	for _, r := range records {
		for _, p := range slices.Concat(r.Undecided, r.Survivors) {
			named[p.PID] = p.Why + p.Cause
		}
		for _, p := range r.Processes {
			if p.Verdict != "end" && named[p.PID] == "" {
				named[p.PID] = p.Why
			}
		}
	}
	return named
}

// inner is the number that a process has in its container.
func inner(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if f := strings.Fields(rest); len(f) > 1 {
				n := 0
				_, _ = fmt.Sscan(f[1], &n)
				return n
			}
		}
	}
	return 0
}

// Line is a cell in words.
func (c *Cell) Line() string {
	text := fmt.Sprintf("%-48s %-20s %s", c.Way.Name, c.Ender.Name, c.short())
	for _, w := range c.Wrong {
		text += "\n    WRONG: " + w
	}
	return text
}

func (c *Cell) short() string {
	var text string
	switch {
	case c.Err != nil:
		return "?"
	case len(c.Left) == 0:
		text = "gone, " + duration(c.Took)
	case c.Way.Bomb:
		text = "**still at it**"
	default:
		text = fmt.Sprintf("**%d left**", len(c.Left))
	}
	if c.Ender.Position == Nowhere && c.Ender.Name == Control().Name && len(c.Left) > 0 {
		text = "lives"
	}
	if reason := c.Way.May[c.Ender.Position]; reason != "" && len(c.Left) > 0 {
		text += ", named"
	}
	if len(c.Hurt) > 0 {
		text += fmt.Sprintf("; **%d wrong**", len(c.Hurt))
	}
	return text
}

func duration(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// Write writes the table of docs/gauntlet.md.
func Write(w io.Writer, cells []Cell, enders []Ender, head string) {
	fmt.Fprintln(w, head)
	fmt.Fprint(w, "| way to outlive a session |")
	for _, e := range enders {
		fmt.Fprintf(w, " %s |", e.Name)
	}
	fmt.Fprint(w, "\n| --- |"+strings.Repeat(" --- |", len(enders)), "\n")
	sums := make([]sum, len(enders))
	for i := 0; i < len(cells); i += len(enders) {
		fmt.Fprintf(w, "| %s |", cells[i].Way.Name)
		for k := range enders {
			c := &cells[i+k]
			fmt.Fprintf(w, " %s |", c.short())
			sums[k].add(c)
		}
		fmt.Fprintln(w)
	}
	for _, row := range []struct {
		name string
		of   func(sum) string
	}{
		{"**gone**", func(s sum) string { return fmt.Sprintf("**%d of %d**", s.gone, s.runs) }},
		{"left, as written down before", func(s sum) string { return fmt.Sprint(s.permitted) }},
		{"**left**", func(s sum) string { return fmt.Sprintf("**%d**", s.left-s.permitted) }},
		{"**runs with wrong kills**", func(s sum) string { return fmt.Sprintf("**%d**", s.hurt) }},
		{"median time until nobody was left", func(s sum) string { return s.median() }},
	} {
		fmt.Fprintf(w, "| %s |", row.name)
		for k := range enders {
			fmt.Fprintf(w, " %s |", row.of(sums[k]))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "\nWrongly ended, by whom:")
	for k, e := range enders {
		if len(sums[k].whom) > 0 {
			fmt.Fprintf(w, "\n- %s: %s", e.Name, strings.Join(sums[k].names(), "; "))
		}
	}
	fmt.Fprintln(w, "\n\nWhat may survive where, and why:")
	fmt.Fprintln(w)
	for i := 0; i < len(cells); i += len(enders) {
		for _, p := range []Position{Root, Below, User} {
			if why := cells[i].Way.May[p]; why != "" {
				fmt.Fprintf(w, "- %s, %s: %s\n", cells[i].Way.Name, p, why)
			}
		}
	}
}

type sum struct {
	runs, gone, left, permitted, hurt int
	took                              []time.Duration
	whom                              map[string]int
}

func (s *sum) add(c *Cell) {
	s.runs++
	if c.Err == nil && len(c.Left) == 0 {
		s.gone++
		s.took = append(s.took, c.Took)
	} else {
		s.left++
		if c.Way.May[c.Ender.Position] != "" {
			s.permitted++
		}
	}
	if len(c.Hurt) > 0 {
		s.hurt++
	}
	if s.whom == nil {
		s.whom = map[string]int{}
	}
	for _, name := range c.Hurt {
		s.whom[name]++
	}
}

func (s *sum) median() string {
	if len(s.took) == 0 {
		return ""
	}
	slices.Sort(s.took)
	return duration(s.took[len(s.took)/2])
}

func (s *sum) names() (list []string) {
	for name, n := range s.whom {
		list = append(list, fmt.Sprintf("%s (%d times)", name, n))
	}
	slices.Sort(list)
	return list
}
