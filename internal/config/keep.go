package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"xexit/internal/session"
)

// keeps takes the list of [[keep]] rules of one file.
func (d *decoder) keeps(key string, n *node) {
	if n.kind == kindTable {
		d.problem(n, key, "is one table, expected a list of tables", "write [[keep]], with two brackets, before each rule")
		return
	}
	if !d.is(key, n, kindArray, "… as [[keep]] tables") {
		return
	}
	for _, item := range n.items {
		if item.kind != kindTable {
			d.problem(item, key, fmt.Sprintf("has %s in its list, expected tables", item.kind), "write [[keep]] before each rule")
			continue
		}
		rule := Keep{From: item.Position}
		d.table("keep.", item, d.rule(&rule))
		for _, needed := range []struct{ key, example string }{
			{"name", `name = "batch science"`},
			{"programs", `programs = ["/usr/lib/R/bin/exec/R"]`},
		} {
			if item.get(needed.key) == nil {
				d.problem(item, key, "has no "+needed.key, "add "+needed.example)
			}
		}
		d.config.Keep = append(d.config.Keep, rule)
	}
}

func (d *decoder) name(k *Keep) field {
	return func(key string, n *node) {
		if !d.is(key, n, kindString, `"batch science"`) {
			return
		}
		if strings.TrimSpace(n.text) == "" || strings.TrimSpace(n.text) != n.text || hasControl(n.text) || utf8.RuneCountInString(n.text) > 64 {
			d.problem(n, key, fmt.Sprintf("%q is no name", n.text), "use up to 64 printable characters, without a space at either end")
			return
		}
		if before, ok := d.names[n.text]; ok {
			d.problem(n, key, fmt.Sprintf("%q is the name of the rule at %s too", n.text, before), "give each rule a name of its own: reports tell them apart by it")
			return
		}
		d.names[n.text] = n.Position
		k.Name = n.text
	}
}

func (d *decoder) after(k *Keep) field {
	known := make([]string, 0, len(session.Reasons()))
	for _, r := range session.Reasons() {
		known = append(known, string(r))
	}
	var words []string
	take := d.list(&words, `["logout", "link-lost"]`, false, func(text string) (what, remedy string) {
		if _, err := session.ParseReason(text); err != nil {
			return fmt.Sprintf("unknown reason %q", text), choose(text, known)
		}
		return "", ""
	})
	return func(key string, n *node) {
		take(key, n)
		for _, w := range words {
			k.After = append(k.After, session.Reason(w))
		}
	}
}

func (d *decoder) programs(k *Keep) field {
	return func(key string, n *node) {
		if n.kind == kindArray && len(n.items) == 0 {
			d.problem(n, key, "the list is empty", "name the programs that may live on")
			return
		}
		d.list(&k.Programs, `["/usr/lib/R/bin/exec/R"]`, true, checkProgram)(key, n)
	}
}

// checkUser finds what is wrong with the shape of a user or @group. Which
// names exist is another question: see Config.Check.
func checkUser(text string) (what, remedy string) {
	name, group := strings.CutPrefix(text, "@")
	switch {
	case name == "" || strings.TrimSpace(text) != text || hasControl(text):
		return fmt.Sprintf("%q is no user or @group", text), `for example "alice" or "@researchers"`
	case name == "*" || strings.EqualFold(text, "all"):
		return fmt.Sprintf("%q is no user", text), "for everybody leave users out"
	case strings.HasPrefix(name, "%") || strings.HasPrefix(name, "&"):
		return fmt.Sprintf("%q is no user", text), fmt.Sprintf("groups are written %q", "@"+strings.Trim(name, "%&"))
	case !group && strings.HasPrefix(name, "+"), strings.HasPrefix(name, "@"), strings.HasPrefix(name, "-"):
		return fmt.Sprintf("%q is no user", text), fmt.Sprintf("write %q, or %q for a group", strings.Trim(name, "+-@"), "@"+strings.Trim(name, "+-@"))
	case strings.ContainsAny(name, ",;:"):
		return fmt.Sprintf("%q is no user", text), "write each in quotes of its own"
	case strings.ContainsAny(name, "*?[]/"):
		return fmt.Sprintf("%q is a pattern, and users are named one by one", text), "put them into a group, and name that: \"@researchers\""
	}
	return "", ""
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// sharedVariables have one value in all sessions of a user, so as a marker
// they would make one session of them all.
var sharedVariables = []string{
	"DBUS_SESSION_BUS_ADDRESS", "HOME", "HOSTNAME", "LANG", "LANGUAGE", "LOGNAME", "MAIL", "OLDPWD",
	"PATH", "PWD", "SHELL", "SHLVL", "TERM", "TZ", "USER", "XDG_RUNTIME_DIR", "XDG_SESSION_TYPE", "_",
}

func checkMarker(text string) (what, remedy string) {
	name, _, assigned := strings.Cut(text, "=")
	switch {
	case assigned && variable.MatchString(name):
		return fmt.Sprintf("%q has a value, which is one session's only", text), fmt.Sprintf("write %q; values are for `xexit watch --marker`", name)
	case strings.HasPrefix(text, "$"):
		return fmt.Sprintf("%q is no name of a variable", text), fmt.Sprintf("write %q", strings.Trim(text, "${}"))
	case !variable.MatchString(text):
		return fmt.Sprintf("%q is no name of a variable", text), "letters, digits and _, no digit first"
	case text == session.MarkerName:
		return text + " is the unique marker, which always counts", "remove it"
	case slices.Contains(sharedVariables, text):
		return text + " is the same in all sessions of a user and tells none from another", "name a variable that each session has a value of its own for"
	}
	return "", ""
}

func hasControl(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) })
}
