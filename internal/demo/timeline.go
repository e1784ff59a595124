package demo

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"xexit/internal/ending"
	"xexit/internal/term"
)

// timeline prints the steps of an end while it goes on. The same step of many
// processes within a short time is one line.
type timeline struct {
	out   io.Writer
	style term.Style
	zero  time.Duration // CLOCK_MONOTONIC when the cable was pulled

	steps <-chan ending.Step
	open  [][]ending.Step // lines that are not printed yet
	round string          // of the sweep that the next STOP belongs to
	// On CLOCK_MONOTONIC; 0: not known.
	begun    time.Duration // the end of members
	verified time.Duration // that nobody is left
}

// readSteps reads the lines that `xexit end --progress` writes, up to an empty one.
func readSteps(r io.Reader) <-chan ending.Step {
	steps := make(chan ending.Step)
	go func() {
		defer close(steps)
		for lines := bufio.NewScanner(r); lines.Scan() && lines.Text() != ""; {
			var s ending.Step
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				continue // what is missing then will be missed
			}
			steps <- s
		}
	}()
	return steps
}

// lineRest is how long a line stays open for more steps of its kind.
const lineRest = 30 * time.Millisecond

// follow prints steps until there are no more.
func (t *timeline) follow() {
	rest := time.NewTimer(lineRest)
	defer rest.Stop()
	for {
		select {
		case s, ok := <-t.steps:
			if !ok {
				t.flush()
				return
			}
			t.note(s)
			if s.Kind == ending.StepSweep {
				t.round, _, _ = strings.Cut(s.What, ":")
				continue // its STOPs tell the rest
			}
			if !t.join(s) {
				t.flush()
				t.open = append(t.open, []ending.Step{s})
			}
			rest.Reset(lineRest)
		case <-rest.C:
			t.flush()
		}
	}
}

// join puts a step on a line that is open, or opens one beside the others.
func (t *timeline) join(s ending.Step) bool {
	if s.Kind != ending.StepSignal && s.Kind != ending.StepGone {
		return false
	}
	for i, line := range t.open {
		if line[0].Kind == s.Kind && line[0].What == s.What {
			t.open[i] = append(line, s)
			return true
		}
		if line[0].Kind != ending.StepSignal && line[0].Kind != ending.StepGone {
			return false
		}
	}
	t.open = append(t.open, []ending.Step{s})
	return true
}

func (t *timeline) note(s ending.Step) {
	switch s.Kind {
	case ending.StepSignal, ending.StepGone:
		t.begun = s.Clock - s.At
	case ending.StepVerified:
		t.verified = s.Clock
	}
}

// flush prints the open lines, each with the time of its last step.
func (t *timeline) flush() {
	last := func(line []ending.Step) time.Duration { return line[len(line)-1].Clock }
	slices.SortStableFunc(t.open, func(a, b []ending.Step) int { return cmp.Compare(last(a), last(b)) })
	for _, line := range t.open {
		text, colour := t.words(line)
		t.line(last(line)-t.zero, text, colour)
	}
	t.open = nil
}

func (t *timeline) words(line []ending.Step) (text string, colour term.Colour) {
	what := line[0].What
	switch line[0].Kind {
	case ending.StepBegin, ending.StepGrace:
		return what, term.Yellow
	case ending.StepSignal:
		text = what + " to " + who(line)
		switch what {
		case "STOP":
			text, t.round = t.round+": "+text, ""
		case "KILL":
			colour = term.Red
		}
		return text, colour
	case ending.StepGone:
		return "gone: " + who(line), term.Green
	case ending.StepVerified:
		return "verified: a clean scan finds nobody left", term.Green
	case ending.StepSurvived, ending.StepRefused:
		return who(line) + ": " + what, term.Red
	}
	return what, term.Plain
}

// who names the processes of a line; "all 9" where they are all.
func who(line []ending.Step) string {
	if len(line) == castSize() && line[0].Kind == ending.StepSignal {
		return fmt.Sprintf("all %d", castSize())
	}
	var names []string
	for _, s := range line {
		name := strings.TrimPrefix(s.Comm, "demo-")
		if _, ok := kindOf(s.Comm); !ok {
			name = fmt.Sprintf("%s (%d)", s.Comm, s.ID.PID)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

const timelineWidth = 80

// line prints one line, folded at commas and spaces.
func (t *timeline) line(at time.Duration, text string, colour term.Colour) {
	head := t.style.Paint(term.Bold, millis(at))
	for _, part := range fold(term.Escape(text), timelineWidth) {
		fmt.Fprintf(t.out, "%s  %s\n", head, t.style.Paint(colour, part))
		head = strings.Repeat(" ", len(millis(0)))
	}
}

// millis shows spans below and above a second in one unit, to be compared.
func millis(d time.Duration) string {
	return fmt.Sprintf("%9.1f ms", float64(d.Microseconds())/1e3)
}

func fold(text string, width int) []string {
	var parts []string
	for len(text) > width {
		cut := strings.LastIndexByte(text[:width], ' ')
		if cut <= 0 {
			break
		}
		parts = append(parts, text[:cut])
		text = "  " + text[cut+1:]
	}
	return append(parts, text)
}

// openProgress opens the FIFO for both, so that it has a reader before there
// is a writer, and no end but the one that is written into it (fifo(7)).
func openProgress(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR, 0) }
