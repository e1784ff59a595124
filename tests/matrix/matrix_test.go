package matrix

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"xexit/tests/machine"
)

// TestTable: every cell says what it is.
func TestTable(t *testing.T) {
	for _, r := range table {
		if len(r.cells) != len(kinds) {
			t.Errorf("%s: %d cells for %d kinds", r.name, len(r.cells), len(kinds))
		}
	}
}

// needs says why the matrix cannot run here, "" if it can.
func needs() string {
	if os.Geteuid() != 0 {
		return "the fault matrix needs root, to make machines of its own"
	}
	for _, tool := range []string{"Xvfb", "Xephyr", "Xvnc", "Xwayland", "weston", "xauth", "ip", "ss", "nft", "ssh", "sshd", "setpriv", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Sprintf("%s is not installed (tests/setup.sh installs it)", tool)
		}
	}
	return ""
}

// At once: most of a cell is waiting. Setting up is not.
const (
	cellsAtOnce     = 40
	settingUpAtOnce = 4
)

// TestMatrix runs all cells. The table goes to the file that XEXIT_MATRIX
// names, a line as a cell ends, so that it can be followed.
func TestMatrix(t *testing.T) {
	if why := needs(); why != "" {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	stage, top := prepare(t)
	results := newResults(t)
	running, starting := make(chan struct{}, cellsAtOnce), make(chan struct{}, settingUpAtOnce)
	var all sync.WaitGroup
	// The last rows take longest.
	for i := len(table) - 1; i >= 0; i-- {
		for k, want := range table[i].cells {
			c := cell{kind: kinds[k], row: table[i], want: want}
			if want.cannot != "" {
				results.cannot(&c)
				continue
			}
			running <- struct{}{}
			all.Go(func() {
				defer func() { <-running }()
				t.Run(c.name(), func(t *testing.T) { runCell(t, c, stage, top, starting, results) })
			})
		}
	}
	all.Wait()
	if err := results.close(); err != nil {
		t.Error(err)
	}
}

// prepare builds what the machines are made of. Not below /tmp: a machine has
// a /tmp of its own over it.
func prepare(t *testing.T) (stage, top string) {
	t.Helper()
	top, err := os.MkdirTemp("/var/tmp", "xexit-matrix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	stage = filepath.Join(top, "stage")
	if err := errors.Join(os.Chmod(top, 0o755), os.Mkdir(stage, 0o755), machine.Stage(repository, stage)); err != nil {
		t.Fatal(err)
	}
	return stage, top
}

func runCell(t *testing.T, c cell, stage, top string, starting chan struct{}, out *results) {
	const tries = 3
	for n := 1; ; n++ {
		try := c
		decision, err := try.inMachine(t, stage, top, starting)
		if errors.Is(err, errUnclear) && n < tries {
			t.Log(err)
			continue
		}
		if err != nil {
			t.Error(err)
			decision = "WRONG: " + err.Error()
		}
		out.add(&try, decision, err)
		return
	}
}

// inMachine runs the cell in a machine of its own.
func (c *cell) inMachine(t *testing.T, stage, top string, starting chan struct{}) (decision string, err error) {
	base, err := os.MkdirTemp(top, "machine-")
	if err != nil {
		return "", err
	}
	starting <- struct{}{}
	c.starting = sync.OnceFunc(func() { <-starting })
	defer c.starting()
	if c.m, err = machine.Start(stage, base); err != nil {
		return "", err
	}
	defer func() {
		c.close()
		if err := c.m.Stop(); err != nil {
			t.Log("stop the machine: ", err)
		}
	}()
	decision, err = c.run()
	if err != nil || testing.Verbose() {
		t.Log(c.lastWords())
	}
	return decision, err
}

// lastWords is what somebody wants to see of a cell that failed.
func (c *cell) lastWords() string {
	var b strings.Builder
	for _, argv := range [][]string{
		{"sh", "-c", "head -c 20000 " + machine.Syslog + " /run/scenario/*.log /run/scenario/*.err /home/alice/report"},
		{"ps", "-eo", "pid,ppid,user,stat,args"},
		{"ss", "-OHtinp"},
	} {
		r, err := c.m.Root(argv...)
		fmt.Fprintf(&b, "--- %s\n%s", argv, r)
		if err != nil {
			fmt.Fprintln(&b, err)
		}
	}
	return b.String()
}

// results is the matrix as it was found.
type results struct {
	start time.Time
	out   *os.File

	mu        sync.Mutex
	lines     map[string][2]string // of a kind and a fault: what xexit decided, and the naive watcher
	runs      int
	wrongs    int
	cannotBe  int
	naiveFell int
}

func newResults(t *testing.T) *results {
	t.Helper()
	name := os.Getenv("XEXIT_MATRIX")
	if name == "" {
		name = os.DevNull
	}
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return &results{start: time.Now(), out: out, lines: make(map[string][2]string)}
}

func (r *results) cannot(c *cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cannotBe++
	r.lines[c.name()] = [2]string{"cannot be: " + c.want.cannot}
}

func (r *results) add(c *cell, decision string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs++
	if err != nil {
		r.wrongs++
	}
	naive := ""
	if c.naive != nil && c.naive.gone() {
		why := strings.TrimSpace(strings.TrimPrefix(c.naive.said, "gone: "))
		if c.fooled {
			naive = "naive: WRONG, " + why
			r.naiveFell++
		} else {
			naive = fmt.Sprintf("naive: right, after %s", seconds(max(c.naive.at.Sub(c.fault), 0)))
		}
	}
	line := [2]string{strings.ReplaceAll(decision, "\n", "; "), naive}
	r.lines[c.name()] = line
	fmt.Fprintf(r.out, "%-46s  %s  %s\n", c.name(), line[0], line[1]) // to be followed
}

// close writes the matrix in the order of the table over what was written as
// it was found.
func (r *results) close() error {
	if r.out.Name() == os.DevNull {
		return nil
	}
	if err := r.out.Truncate(0); err != nil {
		return err
	}
	if _, err := r.out.Seek(0, 0); err != nil {
		return err
	}
	w := tabwriter.NewWriter(r.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "display\tfault\tdecision, time since the fault\ta naive watcher")
	for _, k := range kinds {
		for _, row := range table {
			c := cell{kind: k, row: row}
			if line, ok := r.lines[c.name()]; ok {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.name, row.name, line[0], line[1])
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%d cells run, %d wrong; %d cannot be; the naive watcher was wrong in %d; %.0f s\n",
		r.runs, r.wrongs, r.cannotBe, r.naiveFell, time.Since(r.start).Seconds())
	return r.out.Close()
}
