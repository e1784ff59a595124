package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xexit/internal/config"
	"xexit/internal/history"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// recordCommand is how a watcher, which is too small for it, has the history
// written of a PROGRAM that it runs. It is not for people.
func recordCommand(env Env) *cobra.Command {
	return &cobra.Command{
		Use:    "record begin|done KEY=VALUE...",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := parseRecord(args)
			if err != nil {
				return usage(err)
			}
			if err := writeRecord(c.Context(), env, r); err != nil {
				return failed(err)
			}
			return nil
		},
	}
}

// parseRecord reads the arguments of the record verb. A session's PROGRAM runs
// at most once, so the session's id joins the two lines.
func parseRecord(args []string) (history.Record, error) {
	host, _ := os.Hostname()
	r := history.Record{
		Event: history.Event(args[0]), Time: time.Now(), Kind: history.KindProgram, Host: host,
		UID: uint32(os.Getuid()),
	}
	if r.Event != history.Begin && r.Event != history.Done {
		return r, fmt.Errorf("record %q: expected begin or done", args[0])
	}
	var problems []error
	for _, arg := range args[1:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			problems = append(problems, fmt.Errorf("record: %q is not KEY=VALUE", arg))
			continue
		}
		if err := setField(&r, key, value); err != nil {
			problems = append(problems, fmt.Errorf("record: %s: %w", key, err))
		}
	}
	r.ID = string(r.Session)
	if r.ID == "" {
		problems = append(problems, errors.New("record: no session"))
	}
	return r, errors.Join(problems...)
}

func setField(r *history.Record, key, value string) (err error) {
	switch key {
	case "session":
		r.Session, err = session.ParseID(value)
	case "user":
		r.User = value
	case "display":
		r.Display = value
	case "client":
		r.Client = value
	case "reason":
		r.Reason, _ = session.ParseReason(value) // a later watcher's is other
	case "noticed":
		r.Noticed = value
	case "took-us":
		var us int64
		us, err = strconv.ParseInt(value, 10, 64)
		r.NoticedAfter = history.Micros(time.Duration(us) * time.Microsecond)
	case "program":
		r.Program = append(r.Program, value)
	case "status":
		var status int
		status, err = strconv.Atoi(value)
		r.Status = &status
	case "problem":
		r.Problems = append(r.Problems, value)
	case "output-file":
		if r.Event == history.Done {
			r.Output, r.Truncated, err = readOutput(value)
		}
	}
	return err // keys of a later watcher are left out
}

// outputCap is how many bytes of a program's output the history keeps.
const outputCap = 64 << 10

func readOutput(path string) (text string, truncated bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	output, err := io.ReadAll(io.LimitReader(f, outputCap+1))
	if len(output) > outputCap {
		output, truncated = output[:outputCap], true
	}
	return history.Bytes(output), truncated, err
}

func writeRecord(ctx context.Context, env Env, r history.Record) error {
	w := history.Writer{Host: r.Host, Command: []string{env.Self, history.AppendVerb}}
	dir, err := registry.Dir(env.getenv, r.UID)
	if err == nil {
		w.Runtime = dir
	}
	// A configuration that is not valid forbids to end anybody, not to note.
	if c, bad := config.Load(config.SystemPaths()); bad != nil || c.Log.File {
		w.State = history.StateDir(env.getenv)
	}
	if r.Event == history.Begin {
		return errors.Join(err, w.Begin(r), w.Flush(ctx))
	}
	return errors.Join(err, w.Done(ctx, r))
}
