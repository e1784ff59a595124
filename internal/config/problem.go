package config

import (
	"fmt"
	"slices"
	"strings"

	"xexit/internal/spelling"
	"xexit/internal/term"
)

// Problem is one mistake in a file.
type Problem struct {
	Position
	Key    string // dotted, "" where none is meant
	What   string
	Remedy string
}

// String is "FILE:LINE:COLUMN: KEY: what is wrong; what to do", escaped.
func (p Problem) String() string {
	var out strings.Builder
	out.WriteString(p.Position.String())
	if p.Key != "" {
		out.WriteString(": " + p.Key)
	}
	out.WriteString(": " + p.What)
	if p.Remedy != "" {
		out.WriteString("; " + p.Remedy)
	}
	return term.Escape(out.String())
}

// String is FILE:LINE:COLUMN as far as they are known.
func (p Position) String() string {
	text := p.File
	if p.Line > 0 {
		text += fmt.Sprintf(":%d", p.Line)
		if p.Column > 0 {
			text += fmt.Sprintf(":%d", p.Column)
		}
	}
	return text
}

// Error is a configuration that cannot be used.
type Error struct{ Problems []Problem }

// Error has a line for every problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Warning is something that does not do what its author meant.
type Warning struct {
	Position
	Subject string // the keep rule or key that it is about
	What    string
	Remedy  string
}

// String is like Problem's.
func (w Warning) String() string { return Problem{w.Position, w.Subject, w.What, w.Remedy}.String() }

// nearest is the word among known that was most likely meant, "" if none is
// near: at most a third of its letters wrong, missing, superfluous or swapped.
func nearest(word string, known []string) string {
	best, least := "", 0
	for _, k := range known {
		d := spelling.Distance(normal(word), normal(k))
		if d <= max(1, len(k)/3) && (best == "" || d < least) {
			best, least = k, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	for _, k := range known { // mem, memory-max
		if strings.HasPrefix(normal(k), normal(word)) || strings.HasPrefix(normal(word), normal(k)) {
			return k
		}
	}
	return ""
}

func normal(word string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(word))
}

// oneOf lists words for a remedy.
func oneOf[T ~string](words []T) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = string(w)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// names are the keys of a schema in the order of the alphabet.
func names[T any](fields map[string]T) []string {
	all := make([]string, 0, len(fields))
	for name := range fields {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
