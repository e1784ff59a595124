package cli

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"xexit/internal/config"
	"xexit/internal/doctor"
	"xexit/internal/doctor/gather"
	"xexit/internal/term"
)

func doctorCommand(env Env) *cobra.Command {
	var req gather.Request
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "what is watched here, what would be noticed how fast, and what to change",
		Long: `Looks at this session and this machine: whether the session is watched and how,
what would be noticed how fast and what would not, by what its processes are
known, and what to change. It connects to the display for a moment, as any X
program does, and changes nothing.

Exit status: 0 all is fine, 1 something keeps xexit from doing its job, 2 usage.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if req.All && req.Session != "" {
				return usage(errors.New("--all and --session exclude each other"))
			}
			facts, err := gather.ThisHost(env.Environ).Facts(c.Context(), req)
			if err != nil {
				if errors.Is(err, gather.ErrUsage) {
					return usage(err)
				}
				return failed(err)
			}
			facts.Config = doctorConfig(check(config.SystemPaths()))
			facts.Daemon = doctorDaemon(c.Context(), env)
			report := doctor.Examine(facts)
			if asJSON {
				if err := writeJSON(env, report); err != nil {
					return failed(err)
				}
			} else {
				showDoctor(env, report)
			}
			if report.Problems > 0 {
				return failed(nil)
			}
			return nil
		},
	}
	c.Flags().StringVar(&req.Session, "session", "", "another session of yours: `ID`, or its beginning")
	c.Flags().BoolVar(&req.All, "all", false, "all of your sessions")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// doctorConfig is what `xexit check` says, in short.
func doctorConfig(r checkReport) doctor.Config {
	c := doctor.Config{
		Files: r.Files, Problems: r.Problems, Warnings: len(r.Warnings),
		Keeps: len(r.config.Keep), Syslog: r.config.Log.Syslog, File: r.config.Log.File,
	}
	for _, h := range r.Hooks {
		if h.How == "run" || h.How == "sourced" {
			c.Hooks++
		}
	}
	return c
}

// doctorMarks are what stands before a finding.
type doctorMarks map[doctor.Level]struct {
	sign   string
	colour term.Colour
}

func marksFor(getenv func(string) string) doctorMarks {
	fine, problem := "+", "x"
	if utf8Locale(getenv) {
		fine, problem = "✓", "✗"
	}
	return doctorMarks{doctor.Fine: {fine, term.Green}, doctor.Note: {"!", term.Yellow}, doctor.Problem: {problem, term.Red}}
}

// utf8Locale: the first of these that is set decides (locale(7)).
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := strings.ToLower(getenv(name)); value != "" {
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}

func showDoctor(env Env, r doctor.Report) {
	style := term.NewStyle(isTerminal(env.Stdout), env.getenv)
	marks := marksFor(env.getenv)
	width := 0
	if isTerminal(env.Stdout) {
		width = doctorWidth
	}
	plain := !utf8Locale(env.getenv)
	put := func(first, rest string, colour term.Colour, text string) {
		if plain {
			text = strings.ReplaceAll(text, "µ", "u")
		}
		for i, line := range wrap(term.Escape(text), width-utf8.RuneCountInString(rest)) {
			lead := first
			if i > 0 {
				lead = rest
			}
			fmt.Fprintln(env.Stdout, lead+style.Paint(colour, line))
		}
	}
	for _, s := range r.Sections {
		fmt.Fprintln(env.Stdout, style.Paint(term.Bold, s.Title))
		for _, f := range s.Findings {
			mark := marks[f.Level]
			put("  "+style.Paint(mark.colour, mark.sign)+" ", "    ", term.Plain, f.Text)
			if f.Means != "" {
				put("    ", "    ", term.Faint, f.Means)
			}
			if f.Do != "" {
				put("    "+style.Paint(term.Bold, "do:")+" ", "        ", term.Plain, f.Do)
			}
		}
		fmt.Fprintln(env.Stdout)
	}
	colour := term.Green
	if r.Problems > 0 {
		colour = term.Red
	}
	fmt.Fprintln(env.Stdout, style.Paint(colour, doctorSum(r)))
}

// doctorWidth is for people: longer lines are hard to read. Where a program
// reads, a finding stays on one line.
const doctorWidth = 80

func doctorSum(r doctor.Report) string {
	problems, notes := plural(r.Problems, "problem"), plural(r.Notes, "note")
	who := r.User + " on " + r.Host + ": "
	if r.Problems == 0 {
		return who + "no problems, " + notes
	}
	return who + problems + " to mend before xexit can do its job, " + notes
}

func plural(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// wrap breaks text at spaces into lines of at most width characters; a longer
// word stands alone. A width below 1 breaks nothing.
func wrap(text string, width int) []string {
	if width < 1 {
		return []string{text}
	}
	var lines []string
	line, length := "", 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case length == 0:
			line, length = word, n
		case length+1+n > width:
			lines = append(lines, line)
			line, length = word, n
		default:
			line, length = line+" "+word, length+1+n
		}
	}
	return append(lines, line)
}
