// Command testsum runs `go test` with the arguments it is given (after an
// optional -C DIR) and prints what a person wants to know: each package's own
// line, the output of what failed, and every skip with its reason. With
// XEXIT_TEST_NO_SKIP set a skip is a failure, also where the test forgot to
// look. Nothing else about running tests belongs here.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

func main() {
	args, dir := os.Args[1:], ""
	if len(args) > 1 && args[0] == "-C" {
		dir, args = args[1], args[2:]
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "testsum: run go test: %v\n", err)
		os.Exit(2)
	}
	s := summary{out: os.Stdout, noSkip: os.Getenv("XEXIT_TEST_NO_SKIP") != "", outputs: make(map[string]*strings.Builder)}
	s.read(out)
	err = cmd.Wait()
	if !s.close() || err != nil {
		os.Exit(1)
	}
}

type summary struct {
	out     io.Writer
	noSkip  bool
	outputs map[string]*strings.Builder // of tests not yet decided
	failed  []string
	skips   []string
	passed  int
}

func (s *summary) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(s.out, lines.Text())
			continue
		}
		s.take(e)
	}
}

func (s *summary) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		s.output(key, e)
	case "pass":
		if e.Test != "" {
			s.passed++
			delete(s.outputs, key)
		}
	case "skip":
		if e.Test != "" {
			s.skips = append(s.skips, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(s.outputs[key])))
			delete(s.outputs, key)
		}
	case "fail":
		if e.Test == "" {
			return
		}
		s.failed = append(s.failed, key)
		if text := s.outputs[key]; text != nil {
			fmt.Fprint(s.out, text)
		}
		delete(s.outputs, key)
	}
}

func (s *summary) output(key string, e event) {
	if e.Test != "" {
		if s.outputs[key] == nil {
			s.outputs[key] = new(strings.Builder)
		}
		s.outputs[key].WriteString(e.Output)
		return
	}
	// A package's own lines: its verdict, a panic, a race, a fuzz report.
	if line := strings.TrimSpace(e.Output); line != "PASS" && line != "" && !strings.Contains(line, "[no test files]") {
		fmt.Fprint(s.out, e.Output)
	}
}

// reason is what a skipped test said, without the frame around it.
func reason(text *strings.Builder) string {
	if text == nil {
		return "no reason given"
	}
	var said []string
	for line := range strings.SplitSeq(text.String(), "\n") {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}

// close prints the totals and reports whether all is well.
func (s *summary) close() bool {
	for key, text := range s.outputs { // died without a verdict
		fmt.Fprintf(s.out, "unfinished: %s\n%s", key, text)
	}
	for _, skip := range s.skips {
		fmt.Fprintln(s.out, "SKIPPED", skip)
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, len(s.failed), len(s.skips))
	if s.noSkip && len(s.skips) > 0 {
		fmt.Fprintln(s.out, "XEXIT_TEST_NO_SKIP is set: a skip is a failure")
		return false
	}
	return len(s.failed) == 0
}
