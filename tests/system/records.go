package system

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"xexit/tests/machine"
)

// Record is what counts here of a line of the daemon's history.
type Record struct {
	ID, Event, Login, Session, Reason, Noticed, User string
	Verified                                         bool
	Hooks                                            []struct {
		Name   string
		Status int
	}
	Processes []struct {
		PID                                  int
		Comm, Verdict, Why, Ended, Exemption string
	}
	Survivors []struct {
		PID         int
		Comm, Cause string
	}
	Problems []string
}

// records are the history of the whole container, as it lies on its disk. An
// end writes there last.
func (h *Host) records() ([]Record, error) { return h.history("/var/lib/xexit") }

// early are the records as they come: where nothing can hang.
func (h *Host) early() ([]Record, error) { return h.history("/run/xexit") }

func (h *Host) history(dir string) (all []Record, err error) {
	files, err := filepath.Glob(h.m.Path(dir) + "/*.jsonl*") // also those set aside
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			var r Record
			if json.Unmarshal([]byte(line), &r) == nil { // else it is being written
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// of are the records of one login and one event.
func of(all []Record, login, event string) (some []Record) {
	for _, r := range all {
		if r.Login == login && r.Event == event {
			some = append(some, r)
		}
	}
	return some
}

// recorded waits for the record that a login's end is done.
func (h *Host) recorded(login string) (done Record, err error) {
	err = machine.Until("the end of login "+login+" is recorded as done", func() (bool, error) {
		all, err := h.records()
		if list := of(all, login, "done"); len(list) > 0 {
			done = list[0]
			return true, nil
		}
		return false, err
	})
	return done, err
}

// journal is what the daemon has said, for a failure's report.
func (h *Host) journal() string {
	text, err := h.ask("journalctl -u xexit.service -u xexit-display.service -n 60 --no-pager -o cat")
	if err != nil {
		return err.Error()
	}
	return text
}
