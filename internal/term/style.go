package term

import (
	"os"

	"xexit/internal/linux"
)

// Colour is one of the few colours that text for people uses. The zero value
// is the terminal's own.
type Colour string

// The colours and weights, as SGR parameters (console_codes(4)).
const (
	Plain  Colour = ""
	Bold   Colour = "1"
	Faint  Colour = "2"
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
)

// Style paints text, or leaves it alone. The zero value paints nothing.
type Style struct{ on bool }

// NewStyle decides whether output is coloured: only on a terminal, not where
// NO_COLOR is set to anything (no-color.org), nor where TERM says that the
// terminal is dumb or says nothing.
func NewStyle(terminal bool, getenv func(string) string) Style {
	name := getenv("TERM")
	return Style{on: terminal && getenv("NO_COLOR") == "" && name != "" && name != "dumb"}
}

// On reports whether the style paints.
func (s Style) On() bool { return s.on }

// Paint escapes text and puts it in colour.
func (s Style) Paint(c Colour, text string) string {
	text = Escape(text)
	if !s.on || c == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// IsTerminal reports whether f is a terminal (TCGETS, ioctl_tty(2)).
func IsTerminal(f *os.File) bool { return linux.IsTerminal(int(f.Fd())) }
