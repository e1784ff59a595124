package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// script is a file that another program runs (execve(2), 'Interpreter
// scripts'): the running process is that program, and the file no executable
// that a rule could match.
type script struct {
	interpreter string // as the first line names it
	text        string
}

// maxScript bounds how much of a script is read, in bytes.
const maxScript = 64 << 10

// readScript reads a file if it is a script; nil if it is none.
func readScript(name string) *script {
	if string(readHead(name, 2)) != "#!" { // nearly all are none, and large
		return nil
	}
	head := readHead(name, maxScript)
	if !bytes.HasPrefix(head, []byte("#!")) {
		return nil
	}
	first, _, _ := strings.Cut(string(head[2:]), "\n")
	words := strings.Fields(first)
	s := &script{interpreter: "an unnamed program", text: string(head)}
	if len(words) > 0 {
		s.interpreter = words[0]
	}
	if path.Base(s.interpreter) == "env" {
		for _, word := range words[1:] {
			if !strings.HasPrefix(word, "-") && !strings.Contains(word, "=") {
				s.interpreter = word
				break
			}
		}
	}
	return s
}

func readHead(name string, most int64) []byte {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	head, _ := io.ReadAll(io.LimitReader(f, most))
	return head
}

// refused says why the script cannot be kept, and what to name instead.
func (s *script) refused(m machine, name string) refused {
	r := refused{path: name, what: fmt.Sprintf("is a script that %s runs, so no process has it as its executable", s.interpreter)}
	if program := s.program(m, 3); program != "" {
		r.remedy = fmt.Sprintf("write %q, which it starts", program)
		return r
	}
	r.remedy = fmt.Sprintf("name the executable that it starts; %s itself would keep everything that it runs", s.interpreter)
	return r
}

var (
	assignment = regexp.MustCompile(`(?m)(?:^|[;&|({]|\bthen|\belse|\bdo)\s*(?:export\s+|readonly\s+)?([A-Za-z_][A-Za-z0-9_]*)=("[^"\n]*"|'[^'\n]*'|[^\s;&|"']+)`)
	execution  = regexp.MustCompile(`(?m)(?:^|[;&|({]|\bthen|\belse|\bdo)\s*exec\s+([^\n]*)`)
	reference  = regexp.MustCompile(`\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))`)
	shellWord  = regexp.MustCompile(`(?:"[^"]*"|'[^']*'|[^\s"';&|)]+)+|[;&|)]`)
)

// program is the executable that the script hands over to by exec, as far as
// that can be told without running it: the first word of an exec that is,
// under some of the values its variables are given, a program, and not the
// interpreter once more. Scripts that start scripts are followed depth times.
func (s *script) program(m machine, depth int) string {
	interpreter, _, _ := m.follow(s.interpreter)
	values := s.variables()
	for _, line := range execution.FindAllStringSubmatch(s.text, 16) {
		for _, word := range shellWord.FindAllString(line[1], 16) {
			if strings.ContainsAny(word[:1], ";&|)") {
				break
			}
			for _, candidate := range expand(unquote(word), values, 4) {
				if !path.IsAbs(candidate) {
					continue
				}
				real, info, err := m.follow(path.Clean(candidate))
				if err != nil || real == interpreter || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
					continue
				}
				inner := readScript(real)
				if inner == nil && bytes.HasPrefix(readHead(real, 4), []byte("\x7fELF")) {
					return path.Clean(candidate)
				}
				if inner != nil && depth > 0 {
					if program := inner.program(m, depth-1); program != "" {
						return program
					}
				}
			}
		}
	}
	return ""
}

// variables are the values that the script gives its variables anywhere.
func (s *script) variables() map[string][]string {
	values := make(map[string][]string)
	for _, m := range assignment.FindAllStringSubmatch(s.text, 256) {
		value := unquote(m[2])
		if have := values[m[1]]; len(have) < 4 && !slices.Contains(have, value) {
			values[m[1]] = append(have, value)
		}
	}
	return values
}

func unquote(word string) string {
	return strings.NewReplacer(`"`, "", `'`, "").Replace(word)
}

// maxExpansions bounds the texts that one word is tried as.
const maxExpansions = 32

// expand puts the values of variables into text, in every combination up to a
// bound. What has no value is empty, as in the shell.
func expand(text string, values map[string][]string, depth int) []string {
	at := reference.FindStringSubmatchIndex(text)
	if at == nil {
		return []string{text}
	}
	name := reference.FindStringSubmatch(text)
	choices := values[name[1]+name[2]]
	if len(choices) == 0 || depth == 0 {
		choices = []string{""}
	}
	var all []string
	for _, choice := range choices {
		for _, value := range expand(choice, values, depth-1) {
			for _, rest := range expand(text[at[1]:], values, depth) {
				if all = append(all, text[:at[0]]+value+rest); len(all) == maxExpansions {
					return all
				}
			}
		}
	}
	return all
}
