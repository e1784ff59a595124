package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/registry"
	"xexit/internal/term"
)

func logCommand(env Env) *cobra.Command {
	var count int
	var only string
	var asJSON bool
	c := &cobra.Command{
		Use:   "log",
		Short: "what ended when, how that was noticed, and what was done",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 0 {
				return usage(fmt.Errorf("--count %d: a number of records cannot be negative", count))
			}
			records, problems, err := readHistory(env)
			system, systemErr := systemRecords(c.Context(), env, ipc.LogQuery{Count: count, Session: only})
			records, err = history.Merge(records, system), errors.Join(err, systemErr)
			records = choose(records, only, count)
			for _, p := range problems {
				complain(env, errors.New(p.String()))
			}
			if asJSON {
				if records == nil {
					records = []history.Record{}
				}
				err = errors.Join(err, writeJSON(env, records))
			} else {
				showHistory(env, records)
			}
			if err != nil {
				return failed(err)
			}
			return nil
		},
	}
	c.Flags().IntVarP(&count, "count", "n", 20, "show the last `N` records; 0: all")
	c.Flags().StringVar(&only, "session", "", "only this session: `ID` or its beginning, or a login's")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// readHistory reads the lasting file and the first copies in the runtime directory.
func readHistory(env Env) ([]history.Record, []history.Problem, error) {
	host, _ := os.Hostname()
	paths := []string{}
	if os.Geteuid() == 0 { // the daemon's
		paths = append(paths,
			history.StateFile(filepath.Join(env.Root, history.SystemState), host),
			history.RuntimeFile(filepath.Join(env.Root, history.SystemRuntime)))
	}
	if dir := history.StateDir(env.getenv); dir != "" {
		paths = append(paths, history.StateFile(dir, host))
	}
	dir, err := registry.Dir(env.getenv, uint32(os.Getuid()))
	if err == nil {
		paths = append(paths, history.RuntimeFile(dir))
	}
	records, problems, readErr := history.Read(paths...)
	for i := range records {
		orphanedOutput(dir, &records[i])
	}
	return records, problems, errors.Join(err, readErr)
}

// orphanedOutput adds what a program wrote whose watcher did not live to record
// it: a program may end its watcher.
func orphanedOutput(runtime string, r *history.Record) {
	if runtime == "" || r.Kind != history.KindProgram || r.Event == history.Done {
		return
	}
	if text, truncated, err := readOutput(filepath.Join(runtime, string(r.Session)+".out")); err == nil {
		r.Output, r.Truncated = text, truncated
	}
}

// choose keeps the last count records of the session whose id begins with only,
// or of the login that has it.
func choose(records []history.Record, only string, count int) []history.Record {
	var chosen []history.Record
	for _, r := range records {
		if strings.HasPrefix(string(r.Session), strings.ToLower(only)) || r.Login != "" && r.Login == only {
			chosen = append(chosen, r)
		}
	}
	if count > 0 && len(chosen) > count {
		chosen = chosen[len(chosen)-count:]
	}
	return chosen
}

func showHistory(env Env, records []history.Record) {
	style := term.NewStyle(isTerminal(env.Stdout), env.getenv)
	if len(records) == 0 {
		fmt.Fprintln(env.Stdout, "no end is on record")
		return
	}
	for _, r := range records {
		fmt.Fprintf(env.Stdout, "%s  ", r.Time.Local().Format(time.DateTime))
		showRecord(env, r, style)
	}
}
