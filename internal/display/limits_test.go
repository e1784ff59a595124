package display

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// What this process cannot do says nothing of the display, for as long as it
// lasts, over a broken connection as over a silent one.
func TestUnable(t *testing.T) {
	unable := Observation{Kind: Tried, Outcome: Unable, Cause: "no means"}
	for _, c := range []struct {
		name  string
		link  Link
		sign  Observation
		after session.Reason
	}{
		{"broken", Local, Observation{Kind: Broken, Cause: "EOF"}, session.ReasonServerGone},
		{"silent", Direct, Observation{Kind: Tick, Link: cut(20*s, 6)}, session.ReasonLinkLost},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine(c.link, nil)
			now, notes, tries := m.Wake(), 0, 0
			step := func(o Observation) {
				o.Now, o.Link = now, c.sign.Link
				var a Actions
				m, a = m.Step(o)
				if strings.Contains(a.Note, "no means") {
					notes++
				}
				if a.Connect {
					tries++
				}
			}
			step(Observation{Kind: Tick})
			now += 6 * s // without an answer
			step(c.sign)
			for range 1000 {
				step(unable)
				now = m.Wake()
				step(Observation{Kind: Tick})
				if m.State() != CONFIRM {
					t.Fatalf("%v: %s", m.State(), m.words())
				}
			}
			if notes != 1 || tries < 500 || now < 900*s {
				t.Errorf("said %d times, %d tries in %v", notes, tries, now)
			}
			// Once it can, the end is the end.
			for range 20 {
				if c.link == Local {
					step(Observation{Kind: Tried, Outcome: NobodyThere, Cause: "refused"})
				}
				now = min(m.Wake(), now+s)
				step(Observation{Kind: Tick})
			}
			if m.State() != GONE || m.End().Reason != c.after {
				t.Errorf("%v, %+v", m.State(), m.End())
			}
		})
	}
	t.Run("asked", func(t *testing.T) {
		m := machine(Local, nil)
		m, _ = m.Step(Observation{Kind: Broken, Now: s, Cause: "EOF"})
		m, _ = m.Step(unable)
		m, _ = m.Step(Observation{Kind: Look, Now: s, Within: s / 2})
		if m, a := m.Step(Observation{Kind: Tick, Now: 2 * s}); !a.Alive {
			t.Errorf("%v, %+v", m.State(), a)
		}
	})
}

// A display that lets the watcher in and breaks the connection again and again
// is not asked in a storm.
func TestFlapping(t *testing.T) {
	m := machine(Local, nil)
	var now time.Duration
	tries := 0
	for now < time.Hour {
		var a Actions
		m, a = m.Step(Observation{Kind: Broken, Now: now, Cause: "EOF"})
		for !a.Connect {
			now = m.Wake()
			m, a = m.Step(Observation{Kind: Tick, Now: now})
		}
		tries++
		m, _ = m.Step(Observation{Kind: Tried, Now: now, Outcome: SameDisplay})
		if m.State() != OK {
			t.Fatal(m.State())
		}
	}
	if most := int(time.Hour/m.th.Patience) + 30; tries > most {
		t.Errorf("%d connections in an hour, want at most %d", tries, most)
	}
	// One that then stays for a while is trusted again.
	m, _ = m.Step(Observation{Kind: Answer, Now: now + time.Minute})
	if _, a := m.Step(Observation{Kind: Broken, Now: now + time.Minute, Cause: "EOF"}); !a.Connect {
		t.Errorf("%+v", a)
	}
}

// exhausted is a child process that watches a display with few descriptors. It
// does what it is told on its input, a word a line.
type exhausted struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

const exhaustedEnv = "XEXIT_TEST_EXHAUSTED"

func startExhausted(t *testing.T, display, limits string) *exhausted {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", limits+`; exec "$0" -test.run '^TestOutOfDescriptors$'`, self)
	cmd.Env = append(os.Environ(), exhaustedEnv+"="+display)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e := &exhausted{t: t, in: in, lines: make(chan string, 1000)}
	go func() {
		defer close(e.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			e.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return e
}

func (e *exhausted) tell(word string) {
	e.t.Helper()
	if _, err := fmt.Fprintln(e.in, word); err != nil {
		e.t.Fatal(err)
	}
}

// expect waits for a line with text.
func (e *exhausted) expect(text string) {
	e.t.Helper()
	over := time.After(guard)
	for {
		select {
		case line, open := <-e.lines:
			if !open {
				e.t.Fatalf("ended before %q", text)
			}
			e.t.Log(line)
			if strings.Contains(line, text) {
				return
			}
			if strings.HasPrefix(line, "end ") {
				e.t.Fatalf("wants %q", text)
			}
		case <-over:
			e.t.Fatalf("no %q within %v", text, guard)
		}
	}
}

// exhaustedMain is the child.
func exhaustedMain(t *testing.T, display string) {
	limit, err := linux.OpenFileLimit()
	if err != nil {
		t.Fatal(err)
	}
	if limit > 20 {
		fmt.Println("raised to", limit)
	}
	w, err := Open(t.Context(), Options{
		Name: display, LostAfter: 150 * time.Millisecond,
		Report: func(s State, text string) { fmt.Println(s, text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	go func() {
		for {
			end, err := w.Run(t.Context())
			if !errors.Is(err, ErrAlive) {
				fmt.Println("end", end, err)
				os.Exit(0)
			}
			fmt.Println("alive")
		}
	}()
	var hoard []*os.File
	for words := bufio.NewScanner(os.Stdin); words.Scan(); {
		switch words.Text() {
		case "hoard": // every descriptor there is
			for {
				f, err := os.Open("/dev/null")
				if err != nil {
					fmt.Println("hoarded", len(hoard), err)
					break
				}
				hoard = append(hoard, f)
			}
		case "none": // not even one that is closed can be had again
			setLimit(t, 3, limit)
			fmt.Println("done")
		case "again":
			setLimit(t, limit, limit)
			fmt.Println("done")
		case "probe":
			w.Probe(50 * time.Millisecond)
		}
	}
}

func setLimit(t *testing.T, soft, hard int) {
	t.Helper()
	limit := syscall.Rlimit{Cur: uint64(soft), Max: uint64(hard)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// A watcher that is out of descriptors for real, at the worst moment.
func TestOutOfDescriptors(t *testing.T) {
	if display := os.Getenv(exhaustedEnv); display != "" {
		exhaustedMain(t, display)
		return
	}
	srv := fake(t, displaytest.Options{})
	e := startExhausted(t, srv.Display(), "ulimit -S -n 20; ulimit -H -n 40")
	e.expect("raised") // to the hard limit
	e.expect("open")
	e.tell("hoard")
	e.expect("too many open files")
	for range 3 { // the one kept for this is enough, each time
		srv.DropClients()
		e.expect("CONFIRM")
		e.expect("OK")
	}
	e.tell("none")
	e.expect("done")
	srv.DropClients()
	e.expect("this process cannot connect (too many open files)")
	e.tell("probe")
	e.expect("alive")
	e.tell("again")
	e.expect("done")
	e.expect("OK it answers")
	e.tell("none")
	e.expect("done")
	srv.PullCable()
	e.expect("this process cannot connect (too many open files)")
	e.tell("probe")
	e.expect("alive")
	e.tell("again")
	e.expect("end {" + string(session.ReasonServerGone))
}

// A Set says how many displays it has room for.
func TestLimit(t *testing.T) {
	for limit, want := range map[int]int{8: 1, 16: 2, 64: 11, 1024: 239, 20000: 4983} {
		if got := room(limit); got != want {
			t.Errorf("room(%d) = %d, want %d", limit, got, want)
		}
	}
	s := runSet(t)
	s.limit, s.room = 16, room(16)
	for _, key := range []string{"a", "b"} {
		s.add(key, Options{Name: fake(t, displaytest.Options{}).Display()})
	}
	var limit *LimitError
	err := s.Add(t.Context(), "c", Options{Name: fake(t, displaytest.Options{}).Display()})
	if !errors.As(err, &limit) || limit.Limit != 16 || limit.Room != 2 {
		t.Fatalf("%v", err)
	}
	for _, text := range []string{"RLIMIT_NOFILE is 16", "enough for 2 displays", "ulimit -n"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v: without %q", err, text)
		}
	}
	s.Remove("a")
	s.add("c", Options{Name: fake(t, displaytest.Options{}).Display()})
	s.await("c", Opened)
}
