package config

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"xexit/internal/session"
)

// decoder turns trees into a Config and collects what is wrong with them.
type decoder struct {
	config   Config
	names    map[string]Position // of keep rules, over all files
	problems []Problem
}

// field takes the value of one key; key is dotted, for problems.
type field func(key string, n *node)

func (d *decoder) file(name string, content []byte) {
	root, problems := parse(name, content)
	d.table("", root, d.top())
	d.problems = append(d.problems, problems...)
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		if a.File != b.File || a.File != name {
			return 0
		}
		return a.Line - b.Line
	})
}

func (d *decoder) problem(n *node, key, what, remedy string) {
	d.problems = append(d.problems, Problem{n.Position, key, what, remedy})
}

func (d *decoder) top() map[string]field {
	c := &d.config
	return map[string]field{
		"scope":     d.scope(&c.Scope),
		"grace":     d.duration(&c.Grace, 0, 10*time.Minute, "3s"),
		"pam-close": d.duration(&c.PAMClose, 0, 10*time.Minute, "10s"),
		"markers":   d.list(&c.Markers, `["SITE_SESSION"]`, true, checkMarker),
		"delegated": d.boolean(&c.Delegated),
		"hooks":     d.sub(d.hooks()),
		"log":       d.sub(d.log()),
		"daemon":    d.sub(d.daemon()),
		"display":   d.sub(d.display()),
		"keep":      d.keeps,
	}
}

func (d *decoder) hooks() map[string]field {
	h := &d.config.Hooks
	return map[string]field{
		"dir":      d.directory(&h.Dir, "/etc/Xexit.d"),
		"root-dir": d.directory(&h.RootDir, "/etc/xexit/end.d"),
		"timeout":  d.duration(&h.Timeout, 100*time.Millisecond, time.Hour, "30s"),
		"output":   d.size(&h.Output, 1<<10, 16<<20, "64K"),
		"shield":   d.boolean(&h.Shield),
	}
}

func (d *decoder) log() map[string]field {
	return map[string]field{"syslog": d.boolean(&d.config.Log.Syslog), "file": d.boolean(&d.config.Log.File)}
}

func (d *decoder) rule(k *Keep) map[string]field {
	return map[string]field{
		"name":     d.name(k),
		"users":    d.list(&k.Users, `["alice", "@researchers"]`, false, checkUser),
		"programs": d.programs(k),
		"for":      d.duration(&k.Limits.For, time.Second, 366*24*time.Hour, "48h"),
		"memory":   d.size(&k.Limits.Memory, 1<<20, 1<<50, "8G"),
		"cpu":      d.percent(&k.Limits.CPU),
		"tasks":    d.count(&k.Limits.Tasks, 1<<22),
		"count":    d.count(&k.Limits.Count, 1<<22),
		"after":    d.after(k),
	}
}

// table takes the keys of a table one by one. prefix ends in a dot or is empty.
func (d *decoder) table(prefix string, n *node, fields map[string]field) {
	for _, e := range n.entries {
		if take, ok := fields[e.key]; ok {
			take(prefix+e.key, e.value)
			continue
		}
		d.problems = append(d.problems, Problem{e.Position, prefix + e.key, "unknown key", d.meant(prefix, e.key, fields)})
	}
}

// meant says which key was probably meant by an unknown one.
func (d *decoder) meant(prefix, key string, here map[string]field) string {
	elsewhere := []struct {
		prefix, place string
		fields        map[string]field
	}{
		{"", "at the top of the file, before the first [table]", d.top()},
		{"hooks.", "in [hooks]", d.hooks()},
		{"log.", "in [log]", d.log()},
		{"daemon.", "in [daemon]", d.daemon()},
		{"display.", "in [display]", d.display()},
		{"keep.", "in [[keep]]", d.rule(new(Keep))},
	}
	for _, e := range elsewhere {
		if _, ok := e.fields[key]; ok && e.prefix != prefix {
			return key + " belongs " + e.place
		}
	}
	if near := nearest(key, names(here)); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	for _, e := range elsewhere {
		if near := nearest(key, names(e.fields)); near != "" {
			return fmt.Sprintf("did you mean %s %s?", near, e.place)
		}
	}
	return "the keys here are " + oneOf(names(here))
}

// is reports whether the value has the type, and a problem if it has not.
func (d *decoder) is(key string, n *node, want kind, example string) bool {
	if n.kind == want {
		return true
	}
	_, last, found := strings.Cut(key, ".")
	if !found {
		last = key
	}
	d.problem(n, key, fmt.Sprintf("is %s, expected %s", n.kind, want), "write "+last+" = "+example)
	return false
}

func (d *decoder) sub(fields map[string]field) field {
	return func(key string, n *node) {
		if n.kind != kindTable {
			d.problem(n, key, fmt.Sprintf("is %s, expected a table", n.kind), "write ["+key+"] on a line of its own, then its keys: "+oneOf(names(fields)))
			return
		}
		d.table(key+".", n, fields)
	}
}

func (d *decoder) boolean(to *bool) field {
	return func(key string, n *node) {
		example := "true"
		if slices.Contains([]string{"false", "no", "off", "0"}, strings.ToLower(n.text)) {
			example = "false"
		}
		if d.is(key, n, kindBool, example) {
			*to = n.text == "true"
		}
	}
}

func (d *decoder) scope(to *session.Scope) field {
	return func(key string, n *node) {
		if !d.is(key, n, kindString, `"session"`) {
			return
		}
		scope, err := session.ParseScope(n.text)
		if err != nil {
			d.problem(n, key, fmt.Sprintf("unknown scope %q", n.text), choose(n.text, []string{string(session.ScopeSession), string(session.ScopeUser)}))
			return
		}
		*to = scope
	}
}

// choose is the remedy for a word that is none of those known.
func choose(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q? valid are %s", near, oneOf(known))
	}
	return "valid are " + oneOf(known)
}

func (d *decoder) duration(to *time.Duration, least, most time.Duration, example string) field {
	return func(key string, n *node) {
		quoted := strconv.Quote(example)
		if n.kind == kindInt && !strings.HasPrefix(n.text, "-") {
			quoted = strconv.Quote(n.text + strings.TrimLeft(example, "0123456789"))
		}
		if !d.is(key, n, kindString, quoted) {
			return
		}
		v, err := ParseDuration(n.text)
		switch {
		case err != nil:
			d.problem(n, key, err.Error(), "for example "+strconv.Quote(example))
		case v < least || v > most:
			d.problem(n, key, fmt.Sprintf("%q is out of range", n.text), fmt.Sprintf("from %q to %q", spell(least), spell(most)))
		default:
			*to = v
		}
	}
}

func (d *decoder) size(to *int64, least, most int64, example string) field {
	return func(key string, n *node) {
		quoted := strconv.Quote(example)
		if v, err := strconv.ParseInt(n.text, 10, 64); n.kind == kindInt && err == nil && v >= least && v%1024 == 0 {
			quoted = strconv.Quote(size(v))
		}
		if !d.is(key, n, kindString, quoted) {
			return
		}
		v, err := parseSize(n.text)
		switch {
		case err != nil:
			d.problem(n, key, err.Error(), "for example "+strconv.Quote(example))
		case v < least || v > most:
			d.problem(n, key, fmt.Sprintf("%q is out of range", n.text), fmt.Sprintf("from %q to %q", size(least), size(most)))
		default:
			*to = v
		}
	}
}

func (d *decoder) percent(to *int) field {
	return func(key string, n *node) {
		quoted := `"200%"`
		if n.kind == kindInt && !strings.HasPrefix(n.text, "-") {
			quoted = strconv.Quote(n.text + "%")
		}
		if !d.is(key, n, kindString, quoted) {
			return
		}
		v, err := parsePercent(n.text)
		switch {
		case err != nil:
			d.problem(n, key, fmt.Sprintf("%q is no percentage", n.text), `for example "200%", which is two processors`)
		case v < 1 || v > 100_000:
			d.problem(n, key, fmt.Sprintf("%q is out of range", n.text), `from "1%" to "100000%"`)
		default:
			*to = v
		}
	}
}

func (d *decoder) count(to *int, most int64) field {
	return func(key string, n *node) {
		example := "4"
		if _, err := strconv.ParseUint(n.text, 10, 31); err == nil {
			example = n.text
		}
		if !d.is(key, n, kindInt, example) {
			return
		}
		v, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 64)
		if err != nil || v < 1 || v > min(most, math.MaxInt32) {
			d.problem(n, key, n.text+" is out of range", fmt.Sprintf("from 1 to %d", most))
			return
		}
		*to = int(v)
	}
}

func (d *decoder) directory(to *string, example string) field {
	return func(key string, n *node) {
		if !d.is(key, n, kindString, strconv.Quote(example)) {
			return
		}
		switch {
		case !path.IsAbs(n.text):
			d.problem(n, key, fmt.Sprintf("%q is no absolute path", n.text), "for example "+strconv.Quote(example))
		case hasControl(n.text):
			d.problem(n, key, fmt.Sprintf("%q has control characters in it", n.text), "")
		default:
			*to = path.Clean(n.text)
		}
	}
}

// check says what is wrong with one text of a list, "" if nothing is.
type check func(text string) (what, remedy string)

// list takes a list of texts. An empty one is a problem unless empty is set:
// it would mean nobody or nothing, and hardly does.
func (d *decoder) list(to *[]string, example string, empty bool, valid check) field {
	return func(key string, n *node) {
		if n.kind == kindString {
			example = "[" + strconv.Quote(n.text) + "]"
		}
		if !d.is(key, n, kindArray, example) {
			return
		}
		if len(n.items) == 0 && !empty {
			d.problem(n, key, "the list is empty", "for everything leave "+key[strings.LastIndexByte(key, '.')+1:]+" out")
			return
		}
		*to = d.texts(key, n, valid)
	}
}

// texts are the valid and different texts of a list.
func (d *decoder) texts(key string, n *node, valid check) []string {
	var all []string
	for _, item := range n.items {
		if item.kind != kindString {
			d.problem(item, key, fmt.Sprintf("has %s in its list, expected strings only", item.kind), "write each in quotes of its own")
			continue
		}
		what, remedy := valid(item.text)
		if what == "" && slices.Contains(all, item.text) {
			what, remedy = fmt.Sprintf("has %q twice", item.text), "remove one of them"
		}
		if what != "" {
			d.problem(item, key, what, remedy)
			continue
		}
		all = append(all, item.text)
	}
	return all
}
