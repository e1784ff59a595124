package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"xexit/internal/config"
	"xexit/internal/hook"
	"xexit/internal/term"
)

// checkReport is what `xexit check` found, in the form of its JSON.
type checkReport struct {
	Files    []string      `json:"files"`
	Problems []string      `json:"problems"` // nobody is ended until they are mended
	Warnings []string      `json:"warnings"`
	Hooks    []checkedHook `json:"hooks"`

	config config.Config // what was read, or the defaults
}

type checkedHook struct {
	Path    string `json:"path"`
	How     string `json:"how"` // "run", "sourced", "refused", "ignored"; root's "run as root", "sourced as root"
	Because string `json:"because,omitempty"`
}

func checkCommand(env Env) *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "check configuration and hooks: file, line, key, remedy",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			paths := config.SystemPaths()
			if file != "" {
				paths = config.Paths{File: file}
			}
			report := check(paths)
			if asJSON {
				if err := writeJSON(env, report); err != nil {
					return failed(err)
				}
			} else {
				showCheck(env, report)
			}
			if len(report.Problems) > 0 {
				return usage(nil)
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "check this `FILE` instead of the system's")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func check(paths config.Paths) checkReport {
	r := checkReport{Files: []string{}, Problems: []string{}, Warnings: []string{}, Hooks: []checkedHook{}}
	c, err := config.Load(paths)
	var bad *config.Error
	switch {
	case errors.As(err, &bad):
		for _, p := range bad.Problems {
			r.Problems = append(r.Problems, p.String())
		}
		c = config.Default() // the hooks can be looked at all the same
	case err != nil:
		r.Problems = append(r.Problems, err.Error())
		c = config.Default()
	}
	r.config = c
	r.Files = append(r.Files, c.Sources...)
	for _, w := range c.Check() {
		r.Warnings = append(r.Warnings, w.String())
	}
	checkHooks(&r, c.Hooks.Dir, "run")
	if os.Geteuid() == 0 { // others need not be able to read them
		checkHooks(&r, c.Hooks.RootDir, "run as root")
	}
	return r
}

// checkHooks adds the hooks. One that is refused, or a directory that is not
// trusted, is a problem: what the site wants done is not done.
func checkHooks(r *checkReport, dir, run string) {
	specs, refusals, err := hook.List(dir)
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
	for _, s := range specs {
		how := run
		if s.Sourced {
			how = strings.Replace(run, "run", "sourced", 1)
		}
		r.Hooks = append(r.Hooks, checkedHook{Path: s.Path, How: how})
	}
	for _, f := range refusals {
		how := "refused"
		if f.Ignored {
			how = "ignored"
		} else {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: refused: %s", f.Path, f.Reason))
		}
		r.Hooks = append(r.Hooks, checkedHook{Path: f.Path, How: how, Because: f.Reason})
	}
}

func showCheck(env Env, r checkReport) {
	style := term.NewStyle(isTerminal(env.Stdout), env.getenv)
	if len(r.Files) == 0 && len(r.Problems) == 0 {
		fmt.Fprintln(env.Stdout, "no configuration file: the defaults hold")
	}
	for _, f := range r.Files {
		fmt.Fprintf(env.Stdout, "read %s\n", term.Escape(f))
	}
	t := &term.Table{Style: style}
	for _, h := range r.Hooks {
		t.Row(term.Text("hook", h.Path, h.How, h.Because)...)
	}
	_ = t.Write(env.Stdout)
	for _, w := range r.Warnings {
		fmt.Fprintln(env.Stdout, style.Paint(term.Yellow, "warning: "+w))
	}
	for _, p := range r.Problems {
		fmt.Fprintln(env.Stdout, style.Paint(term.Red, "problem: "+p))
	}
	switch {
	case len(r.Problems) == 0:
		fmt.Fprintln(env.Stdout, style.Paint(term.Green, "no problems"))
	default:
		fmt.Fprintf(env.Stdout, "%d to mend; until then what they are about is not done\n", len(r.Problems))
	}
}
