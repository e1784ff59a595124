// Package doctor judges what is known of a session and its machine: what works
// here, what it means, and what to change. Facts go in, findings in plain words
// come out. Finding the facts out, and printing, do not belong here.
package doctor

import "xexit/internal/session"

// Level says how much a finding matters.
type Level string

// The levels. A problem keeps xexit from doing its job; a note is something
// that an administrator may want to know or to change.
const (
	Fine    Level = "fine"
	Note    Level = "note"
	Problem Level = "problem"
)

// Finding is one thing that was looked at.
type Finding struct {
	Key   string `json:"key"` // for programs: stays as it is when the words change
	Level Level  `json:"level"`
	Text  string `json:"text"`            // what is
	Means string `json:"means,omitempty"` // what follows from it
	Do    string `json:"do,omitempty"`    // what to change
}

// Section is a group of findings with a headline.
type Section struct {
	Title    string     `json:"title"`
	Session  session.ID `json:"session,omitempty"` // that it is about; "": the machine, or no session
	Findings []Finding  `json:"findings"`
}

// Report is all that was found.
type Report struct {
	User     string    `json:"user"`
	Host     string    `json:"host"`
	Problems int       `json:"problems"`
	Notes    int       `json:"notes"`
	Sections []Section `json:"sections"`
}

// Examine judges the facts.
func Examine(f Facts) Report {
	r := Report{User: f.User.Name, Host: f.Machine.Host}
	for _, s := range f.Sessions {
		r.add(s.title(), s.ID, s.watched(f))
		if s.Sight.Name != "" {
			r.add(s.Sight.title(), s.ID, s.Sight.findings(s.watching()))
		}
		if s.watching() {
			r.add("What is noticed, and how fast", s.ID, s.noticed())
		}
		if s.ID != "" {
			r.add("By what its processes are known", s.ID, s.evidence(f.Login))
		}
	}
	machine := f.machine()
	r.add("This login and this machine", "", machine)
	r.add("System mode", "", f.Daemon.findings(machine))
	r.add("Configuration and exit scripts", "", f.Config.findings())
	r.add("Records", "", f.Records.findings(f.Config))
	return r
}

func (r *Report) add(title string, id session.ID, findings []Finding) {
	if len(findings) == 0 {
		return
	}
	for _, f := range findings {
		switch f.Level {
		case Problem:
			r.Problems++
		case Note:
			r.Notes++
		}
	}
	r.Sections = append(r.Sections, Section{title, id, findings})
}

func fine(key, text string) Finding { return Finding{Key: key, Level: Fine, Text: text} }

func note(key, text, means, do string) Finding { return Finding{key, Note, text, means, do} }

func problem(key, text, means, do string) Finding { return Finding{key, Problem, text, means, do} }
