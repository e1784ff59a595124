package tests

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// recordsOf asks `xexit log --json` for a user's records, oldest first.
func (s *scene) recordsOf(user string) (records []map[string]any, err error) {
	r, err := s.m.Run(machine.RootSocket, agent.Request{
		Argv: []string{"xexit", "log", "--json"}, Env: machine.UserEnv(user), UID: machine.Users[user], Dir: "/",
	})
	if err != nil {
		return nil, err
	}
	if r.Status != 0 {
		return nil, fmt.Errorf("xexit log --json: exit status %d: %s", r.Status, r.Stderr)
	}
	decoder := json.NewDecoder(strings.NewReader(r.Stdout))
	for decoder.More() {
		var v any
		if err := decoder.Decode(&v); err != nil {
			return nil, fmt.Errorf("xexit log --json: %w in %q", err, r.Stdout)
		}
		switch v := v.(type) {
		case map[string]any:
			records = append(records, v)
		case []any:
			for _, e := range v {
				if m, ok := e.(map[string]any); ok {
					records = append(records, m)
				}
			}
		}
	}
	return records, nil
}

// at follows a dotted path through objects, and arrays by index; what is
// absent is "". Arrays of words are joined with commas.
func at(v any, path string) string {
	for step := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				return ""
			}
			v = x[i]
		default:
			return ""
		}
	}
	switch x := v.(type) {
	case nil:
		return ""
	case []any:
		words := make([]string, len(x))
		for i, e := range x {
			words[i] = fmt.Sprint(e)
		}
		return strings.Join(words, ",")
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// mismatch says which of the KEY=REGEXP words do not hold; "" if all do. The
// expression must match the whole value.
func mismatch(v any, wants []string) string {
	for _, want := range wants {
		key, pattern, ok := strings.Cut(want, "=")
		if !ok {
			return "not KEY=REGEXP: " + want
		}
		if got := at(v, key); !regexp.MustCompile("(?s)^(?:" + pattern + ")$").MatchString(got) {
			return fmt.Sprintf("%s is %q, not %q", key, got, pattern)
		}
	}
	return ""
}

// record USER KEY=REGEXP… – waits until one of the user's finished records has it all.
func cmdRecord(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, args, 2, "record USER KEY=REGEXP…")
	s := sceneOf(ts)
	why := "there is none"
	look := func() (bool, error) {
		records, err := s.recordsOf(args[0])
		for _, r := range slices.Backward(records) {
			if r["event"] != "done" {
				continue
			}
			if why = mismatch(r, args[1:]); why == "" {
				return true, nil
			}
		}
		return false, err
	}
	if neg {
		found, err := look()
		ts.Check(err)
		if found {
			ts.Fatalf("there is such a record")
		}
		return
	}
	if err := machine.Until("there is such a record", look); err != nil {
		records, _ := s.recordsOf(args[0])
		text, _ := json.MarshalIndent(records, "", " ")
		ts.Fatalf("%v: %s; all records:\n%s", err, why, text)
	}
}

// found USER NAME KEY=REGEXP… – in the newest finished end that names them, every process called NAME is as said.
func cmdFound(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, args, 3, "found USER NAME KEY=REGEXP…")
	s := sceneOf(ts)
	why := "no finished record names it"
	look := func() (bool, error) {
		records, err := s.recordsOf(args[0])
		for _, r := range slices.Backward(records) {
			if r["event"] != "done" {
				continue
			}
			if entries := entriesOf(r, known(ts, args[1])); len(entries) > 0 {
				why = ""
				for _, e := range entries {
					if m := mismatch(e, args[2:]); m != "" {
						why = m
					}
				}
				return why == "", err
			}
		}
		return false, err
	}
	if neg {
		ok, err := look()
		ts.Check(err)
		if ok {
			ts.Fatalf("it is so")
		}
		return
	}
	if err := machine.Until("the record says so of "+args[1], look); err != nil {
		records, _ := s.recordsOf(args[0])
		text, _ := json.MarshalIndent(records, "", " ")
		ts.Fatalf("%v: %s; all records:\n%s", err, why, text)
	}
}

// entriesOf are what a record says of the processes, in any of its lists.
func entriesOf(record map[string]any, refs []*machine.Ref) (entries []any) {
	for _, list := range []string{"processes", "undecided", "survivors"} {
		all, _ := record[list].([]any)
		for _, e := range all {
			pid, err := strconv.Atoi(at(e, "pid"))
			if err == nil && slices.ContainsFunc(refs, func(r *machine.Ref) bool { return r.PID == pid }) {
				entries = append(entries, e)
			}
		}
	}
	return entries
}
