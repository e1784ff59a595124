package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"xexit/internal/policy"
)

// Rules are the keep rules that hold for a user, with the files they mean now,
// and what about them does not do what it says. Limits are among that: in user
// mode nothing enforces them. Rules whose programs are all missing or refused
// are left out. It asks the user database where a rule names users, and looks
// at every file that a pattern takes in, so it can take as long as those do.
func (c Config) Rules(uid uint32) ([]policy.Rule, []Warning) { return c.rules(thisMachine(), uid) }

func (c Config) rules(m machine, uid uint32) ([]policy.Rule, []Warning) {
	var all []policy.Rule
	var warnings []Warning
	who := &subject{machine: m, uid: uid}
	for _, k := range c.Keep {
		applies, unsure := who.in(k)
		warnings = append(warnings, unsure...)
		if !applies {
			continue
		}
		files, wrong := k.files(m)
		warnings = append(append(warnings, wrong...), k.unenforced()...)
		if len(files) == 0 {
			continue
		}
		rule := policy.Rule{Name: k.Name, After: slices.Clone(k.After)}
		for _, f := range files {
			rule.Files = append(rule.Files, policy.FileID{Dev: f.dev, Ino: f.ino})
		}
		all = append(all, rule)
	}
	return all, warnings
}

// Check looks at every rule, whoever it is for: users and groups that are not
// there, programs that cannot be kept, limits that nothing enforces.
func (c Config) Check() []Warning { return c.check(thisMachine()) }

func (c Config) check(m machine) []Warning {
	warnings := slices.Clone(c.Warnings)
	for _, k := range c.Keep {
		for _, name := range k.Users {
			if _, err := m.id(name); err != nil {
				warnings = append(warnings, k.unknown(name, err))
			}
		}
		_, wrong := k.files(m)
		warnings = append(append(warnings, wrong...), k.unenforced()...)
	}
	return warnings
}

// subject is the user that rules are asked for.
type subject struct {
	machine machine
	uid     uint32
	gids    []uint32 // asked for once
	asked   bool
	failed  error
}

// in reports whether the rule is for the user. Where the database does not
// answer it is: a process that nothing is known of is spared.
func (s *subject) in(k Keep) (applies bool, warnings []Warning) {
	if len(k.Users) == 0 {
		return true, nil
	}
	for _, name := range k.Users {
		id, err := s.machine.id(name)
		if err == nil && strings.HasPrefix(name, "@") {
			var gids []uint32
			if gids, err = s.groups(); err == nil && slices.Contains(gids, id) {
				applies = true
			}
		} else if err == nil && id == s.uid {
			applies = true
		}
		if err != nil {
			warnings = append(warnings, k.unknown(name, err))
			applies = applies || !errors.Is(err, errNobody)
		}
	}
	return applies, warnings
}

func (s *subject) groups() ([]uint32, error) {
	if !s.asked {
		s.asked = true
		s.gids, s.failed = s.machine.groups(s.uid)
	}
	return s.gids, s.failed
}

// id is the number of a user or @group.
func (m machine) id(name string) (uint32, error) {
	if group, ok := strings.CutPrefix(name, "@"); ok {
		return m.group(group)
	}
	return m.user(name)
}

func (k Keep) warning(what, remedy string) Warning {
	return Warning{Position: k.From, Subject: fmt.Sprintf("keep %q", k.Name), What: what, Remedy: remedy}
}

func (k Keep) unknown(name string, err error) Warning {
	what, text := "user", name
	if group, ok := strings.CutPrefix(name, "@"); ok {
		what, text = "group", group
	}
	if errors.Is(err, errNobody) {
		return k.warning(fmt.Sprintf("%s %q is not known on this machine", what, text), "correct the name; until then the rule is not for it")
	}
	return k.warning(fmt.Sprintf("%s %q could not be looked up, so the rule is taken to hold: %s", what, text, err), "")
}

// unenforced names the limits that the rule sets.
func (k Keep) unenforced() []Warning {
	var set []string
	for _, l := range []struct {
		name string
		on   bool
	}{
		{"for", k.Limits.For > 0},
		{"memory", k.Limits.Memory > 0},
		{"cpu", k.Limits.CPU > 0},
		{"tasks", k.Limits.Tasks > 0},
		{"count", k.Limits.Count > 0},
	} {
		if l.on {
			set = append(set, l.name)
		}
	}
	if set == nil {
		return nil
	}
	return []Warning{k.warning(strings.Join(set, ", ")+": not enforced in user mode", "what the rule keeps is kept without limits")}
}

// files are the executables that the rule means on this machine.
func (k Keep) files(m machine) (files []found, warnings []Warning) {
	taken := make(map[found]bool)
	for _, pattern := range k.Programs {
		f := m.find(pattern)
		for _, file := range f.files {
			if !taken[file] {
				files = append(files, file)
			}
			taken[file] = true
		}
		for i, r := range f.refused {
			if i == maxRefused {
				warnings = append(warnings, k.warning(fmt.Sprintf("%s: %d more cannot be kept", pattern, len(f.refused)-i), ""))
				break
			}
			warnings = append(warnings, k.warning(r.path+" "+r.what, r.remedy))
		}
		switch {
		case f.full:
			warnings = append(warnings, k.warning(fmt.Sprintf("%s: more than %d files; those beyond are not kept", pattern, maxEntries), "name the directories that hold the programs"))
		case len(f.files) == 0 && len(f.refused) == 0:
			warnings = append(warnings, k.warning(pattern+" matches no executable", "correct the pattern, or install the programs"))
		}
	}
	return files, warnings
}

// maxRefused bounds the warnings about one pattern.
const maxRefused = 5
