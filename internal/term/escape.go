// Package term turns values into text for people: escaping what a process
// chose, colour where it is wanted, columns, durations. What is for programs
// (JSON) does not belong here, nor does anything that knows what a session is.
package term

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes text safe to show: no byte that a process chose (its name,
// arguments, output) can move the cursor, change colours, begin a line, or
// turn the direction of what follows. Control characters of ASCII and bytes
// that are not UTF-8 become \xNN; every other character that unicode does not
// call printable (C1 controls, bidirectional overrides, line separators,
// zero-width and private characters) becomes \u{...}. Tab and newline count as
// control characters: see Lines. What is printable, a backslash too, is left
// as it is, so that escaping twice does no harm.
func Escape(text string) string {
	clean := 0
	for clean < len(text) {
		r, size := utf8.DecodeRuneInString(text[clean:])
		if !shows(r, size) {
			break
		}
		clean += size
	}
	if clean == len(text) {
		return text
	}
	var out strings.Builder
	out.Grow(len(text) + 16)
	out.WriteString(text[:clean])
	for rest := text[clean:]; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case shows(r, size):
			out.WriteString(rest[:size])
		case size == 1:
			fmt.Fprintf(&out, `\x%02x`, rest[0])
		default:
			fmt.Fprintf(&out, `\u{%x}`, r)
		}
		rest = rest[size:]
	}
	return out.String()
}

// shows reports whether a decoded character may reach a terminal as it is. A
// replacement character of size 1 is an invalid byte, one of size 3 was
// written as such.
func shows(r rune, size int) bool {
	if r == utf8.RuneError && size <= 1 {
		return false
	}
	return unicode.IsPrint(r)
}

// Lines splits text at its newlines and escapes each line; a final newline
// does not make an empty line, and a carriage return before one is dropped.
func Lines(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = Escape(strings.TrimSuffix(line, "\r"))
	}
	return lines
}

// EscapeText is Escape for text of several lines, an error's for instance:
// the newlines stay.
func EscapeText(text string) string { return strings.Join(Lines(text), "\n") }

// Cut shortens text, which is escaped first, to at most width characters, the
// last of which is then '…'. A width below 1 cuts nothing.
func Cut(text string, width int) string {
	text = Escape(text)
	if width < 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	seen := 0
	for i := range text {
		if seen == width-1 {
			return text[:i] + "…"
		}
		seen++
	}
	return text
}
