package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is what a value is in TOML.
type kind string

const (
	kindTable  kind = "a table"
	kindArray  kind = "a list"
	kindString kind = "a string"
	kindInt    kind = "an integer"
	kindFloat  kind = "a number"
	kindBool   kind = "true or false"
	kindTime   kind = "a date or time"
)

// node is a value with its place.
type node struct {
	Position
	kind    kind
	text    string  // string: its value; other scalars: as written
	items   []*node // list
	entries []entry // table, in the order of the file
	index   map[string]*node
	tables  bool // list made by [[headers]]
	header  bool // table that had a [header] of its own
	element bool // table that had a [[header]]
}

// entry is a key of a table.
type entry struct {
	Position
	key   string
	value *node
}

func (n *node) get(key string) *node { return n.index[key] }

func (n *node) set(key string, at Position, value *node) {
	if n.index == nil {
		n.index = make(map[string]*node)
	}
	n.index[key] = value
	n.entries = append(n.entries, entry{at, key, value})
}

// parser makes a tree of one file.
type parser struct {
	unstable.Parser
	file     string
	root     *node
	here     *node // the table that the last header opened; nil: one that was refused
	problems []Problem
}

// maxSyntax bounds how many syntax errors of a file are looked for.
const maxSyntax = 20

// parse returns the tree of what could be read, and what could not. After a
// syntax error its line is left out and the rest read again, so that one pass
// finds the mistakes of the whole file; after a broken header what follows has
// no place, and is left out too.
func parse(file string, content []byte) (*node, []Problem) {
	text := bytes.Clone(content)
	var syntax []Problem
	for {
		p := &parser{file: file, root: &node{kind: kindTable, Position: Position{file, 1, 1}}}
		err := p.document(text)
		if err == nil {
			if len(syntax)+len(p.problems) == 0 {
				p.problems = conforms(file, text)
			}
			return p.root, append(syntax, p.problems...)
		}
		at := p.place(err)
		line, start, end := lineAt(text, at.Line)
		if last := len(syntax) - 1; last >= 0 && syntax[last].Position == at {
			return p.root, append(syntax, p.problems...)
		}
		syntax = append(syntax, Problem{Position: at, Key: keyOf(line), What: err.Error(), Remedy: syntaxRemedy(line, err.Error())})
		if strings.TrimSpace(line) == "" || len(syntax) == maxSyntax {
			return p.root, append(syntax, p.problems...)
		}
		if strings.HasPrefix(strings.TrimSpace(line), "[") {
			text = text[:start]
			continue
		}
		for i := start; i < end; i++ {
			text[i] = ' '
		}
	}
}

// conforms lets the library have the last word on a file that looks right.
func conforms(file string, text []byte) []Problem {
	var any map[string]any
	err := toml.Unmarshal(text, &any)
	if err == nil {
		return nil
	}
	p := Problem{Position: Position{file, 1, 1}, What: strings.TrimPrefix(err.Error(), "toml: "), Remedy: "define each table once, in one way"}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		p.Line, p.Column = decode.Position()
		p.Key = strings.Join(decode.Key(), ".")
	}
	return []Problem{p}
}

// document reads text into p.root up to the first syntax error.
func (p *parser) document(text []byte) error {
	p.Reset(text)
	p.here = p.root
	for p.NextExpression() {
		expression := p.Expression()
		switch expression.Kind {
		case unstable.KeyValue:
			p.keyValue(p.here, expression)
		case unstable.Table:
			p.openTable(expression)
		case unstable.ArrayTable:
			p.openElement(expression)
		}
	}
	return p.Error()
}

// place is where a syntax error is.
func (p *parser) place(err error) Position {
	var parse *unstable.ParserError
	offset := len(p.Data())
	if errors.As(err, &parse) && parse.Highlight != nil {
		offset = min(offset, max(0, cap(p.Data())-cap(parse.Highlight)))
	}
	return p.at(unstable.Range{Offset: uint32(offset)})
}

func (p *parser) at(r unstable.Range) Position {
	before := p.Data()[:r.Offset]
	return Position{p.file, 1 + bytes.Count(before, []byte("\n")), int(r.Offset) - bytes.LastIndexByte(before, '\n')}
}

func (p *parser) problem(at Position, key, what, remedy string) {
	p.problems = append(p.problems, Problem{at, key, what, remedy})
}

// keyPart is one part of a dotted key.
type keyPart struct {
	Position
	name string
}

func (p *parser) key(expression *unstable.Node) []keyPart {
	var parts []keyPart
	for it := expression.Key(); it.Next(); {
		parts = append(parts, keyPart{p.at(it.Node().Raw), string(it.Node().Data)})
	}
	return parts
}

func dotted(parts []keyPart) string {
	words := make([]string, len(parts))
	for i, part := range parts {
		words[i] = part.name
	}
	return strings.Join(words, ".")
}

// descend finds or makes the tables that parts lead through; in a list of
// tables it is the last one. nil, and a problem: something else is in the way.
func (p *parser) descend(from *node, parts []keyPart) *node {
	for i, part := range parts {
		next := from.get(part.name)
		if next == nil {
			next = &node{Position: part.Position, kind: kindTable}
			from.set(part.name, part.Position, next)
		}
		if next.tables {
			next = next.items[len(next.items)-1]
		}
		if next.kind != kindTable {
			p.problem(part.Position, dotted(parts[:i+1]), fmt.Sprintf("is %s in line %d and cannot be a table too", next.kind, next.Line), "remove one of them")
			return nil
		}
		from = next
	}
	return from
}

func (p *parser) openTable(expression *unstable.Node) {
	parts := p.key(expression)
	last := parts[len(parts)-1]
	p.here = p.descend(p.root, parts)
	if p.here == nil {
		return
	}
	if p.here.element {
		p.problem(last.Position, dotted(parts), fmt.Sprintf("[%s] after [[%[1]s]] in line %d", dotted(parts), p.here.Line), "write [["+dotted(parts)+"]] for one more of them")
		p.here = nil
		return
	}
	if p.here.header {
		p.problem(last.Position, dotted(parts), fmt.Sprintf("the table is there already, in line %d", p.here.Line), "put its keys together")
		return
	}
	p.here.header, p.here.Position = true, last.Position
}

func (p *parser) openElement(expression *unstable.Node) {
	parts := p.key(expression)
	last := parts[len(parts)-1]
	p.here = nil
	parent := p.descend(p.root, parts[:len(parts)-1])
	if parent == nil {
		return
	}
	list := parent.get(last.name)
	if list == nil {
		list = &node{Position: last.Position, kind: kindArray, tables: true}
		parent.set(last.name, last.Position, list)
	}
	if !list.tables {
		p.problem(last.Position, dotted(parts), fmt.Sprintf("is %s in line %d and cannot be [[%s]] too", list.kind, list.Line, dotted(parts)), "write all of them as [["+dotted(parts)+"]]")
		return
	}
	p.here = &node{Position: last.Position, kind: kindTable, element: true}
	list.items = append(list.items, p.here)
}

func (p *parser) keyValue(table *node, expression *unstable.Node) {
	if table == nil {
		return
	}
	parts := p.key(expression)
	last := parts[len(parts)-1]
	value := p.value(expression.Value(), last.Position)
	table = p.descend(table, parts[:len(parts)-1])
	if table == nil {
		return
	}
	if before := table.get(last.name); before != nil {
		p.problem(last.Position, dotted(parts), fmt.Sprintf("is set already, in line %d", before.Line), "remove one of them")
		return
	}
	table.set(last.name, last.Position, value)
}

var kinds = map[unstable.Kind]kind{
	unstable.Array: kindArray, unstable.InlineTable: kindTable, unstable.String: kindString,
	unstable.Bool: kindBool, unstable.Float: kindFloat, unstable.Integer: kindInt,
}

func (p *parser) value(from *unstable.Node, near Position) *node {
	n := &node{Position: near, kind: kindTime, text: string(from.Data)}
	if k, ok := kinds[from.Kind]; ok {
		n.kind = k
	}
	if from.Raw.Length > 0 {
		n.Position = p.at(from.Raw)
	}
	switch n.kind {
	case kindArray:
		for it := from.Children(); it.Next(); {
			if it.Node().Kind != unstable.Comment {
				n.items = append(n.items, p.value(it.Node(), near))
			}
		}
	case kindTable:
		for it := from.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				p.keyValue(n, it.Node())
			}
		}
	}
	return n
}

// lineAt is a line's text and its bounds.
func lineAt(text []byte, line int) (content string, start, end int) {
	for range line - 1 {
		next := bytes.IndexByte(text[start:], '\n')
		if next < 0 {
			break
		}
		start += next + 1
	}
	end = len(text)
	if next := bytes.IndexByte(text[start:], '\n'); next >= 0 {
		end = start + next
	}
	return string(text[start:end]), start, end
}

var (
	bareValue = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)\s*=\s*([^\s"'\[{#][^"'#]*?)\s*(?:#.*)?$`)
	noEquals  = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)\s*(?::|\s)\s*([^\s=].*?)\s*$`)
)

// keyOf is the key that a broken line begins with.
func keyOf(line string) string {
	for _, shape := range []*regexp.Regexp{bareValue, noEquals} {
		if m := shape.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	key, _, ok := strings.Cut(line, "=")
	if key = strings.TrimSpace(key); !ok || strings.ContainsAny(key, "\"' []{}#") {
		return ""
	}
	return key
}

// syntaxRemedy says what was probably meant by a line that is not TOML.
func syntaxRemedy(line, what string) string {
	if m := bareValue.FindStringSubmatch(line); m != nil {
		switch word := strings.ToLower(m[2]); {
		case slices.Contains([]string{"yes", "on", "true", "enabled"}, word):
			return "write " + m[1] + " = true"
		case slices.Contains([]string{"no", "off", "false", "disabled"}, word):
			return "write " + m[1] + " = false"
		}
		return fmt.Sprintf("texts are written in quotes: %s = %q", m[1], m[2])
	}
	if strings.Contains(what, "new lines") || strings.Contains(what, "not terminated") {
		return "the quotes that end the text are missing"
	}
	if strings.Contains(what, "expected ','") {
		return "is a comma missing before it?"
	}
	if strings.Contains(what, "UTF-8") {
		return "save the file as UTF-8"
	}
	if strings.Contains(what, "escape") {
		return `a backslash in "..." is written \\; in '...' it stands for itself`
	}
	if m := noEquals.FindStringSubmatch(line); m != nil && !strings.Contains(line, "=") {
		return "write " + m[1] + " = VALUE"
	}
	return "see xexit.toml(5)"
}
