package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"xexit/internal/term"
)

// Problem is a line that could not be used. Reading goes on after it.
type Problem struct {
	Path string
	Line int // from 1
	What string
}

func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s", term.Escape(p.Path), p.Line, p.What)
}

// Read reads the records of the files, in each case those set aside first,
// and makes one of what belongs together: a begin and a done line, and the
// copies of a line in different files. They come in the order of time. A file
// that does not exist is empty. The error names files that could not be read,
// and then what the others held is returned all the same.
func Read(paths ...string) ([]Record, []Problem, error) {
	var m merger
	var problems []Problem
	var failed []error
	for _, path := range paths {
		for n := systemAside; n >= 0; n-- {
			name := path
			if n > 0 {
				name = oldName(path, n)
			}
			found, err := m.file(name)
			problems = append(problems, found...)
			if err != nil {
				failed = append(failed, err)
			}
		}
	}
	return m.records(), problems, errors.Join(failed...)
}

// Merge makes one list of several that Read returned, in the order of time,
// with one record of what is in more than one of them.
func Merge(lists ...[]Record) []Record {
	var m merger
	for _, list := range lists {
		for _, r := range list {
			m.add(r)
		}
	}
	return m.records()
}

// merger collects lines by their id.
type merger struct {
	byID  map[string]int
	found []Record
}

func (m *merger) file(path string) (problems []Problem, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	problems, err = m.lines(path, f)
	if err != nil {
		return problems, fmt.Errorf("read records: %w", err)
	}
	return problems, nil
}

// lines reads one file's lines. What cannot be parsed is reported and skipped.
func (m *merger) lines(path string, from io.Reader) (problems []Problem, err error) {
	in := bufio.NewReaderSize(from, maxLine+1)
	skipping := false // in a line beyond the buffer, which was reported
	for number := 1; ; {
		line, err := in.ReadSlice('\n')
		whole := err == nil
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if !skipping {
				problems = append(problems, Problem{path, number, fmt.Sprintf("longer than %d bytes: skipped", maxLine)})
			}
			skipping = true
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return problems, err
		}
		if !skipping {
			if what := m.line(line, whole); what != "" {
				problems = append(problems, Problem{path, number, what})
			}
		}
		if !whole {
			return problems, nil
		}
		skipping = false
		number++
	}
}

// line takes one line; what is wrong with it is returned in words.
func (m *merger) line(line []byte, whole bool) (wrong string) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return ""
	}
	var version struct {
		V int `json:"v"`
	}
	var r Record
	if err := json.Unmarshal(line, &version); err == nil && version.V > Version {
		return fmt.Sprintf("written by a later version of xexit (format %d, known is %d): skipped", version.V, Version)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		if !whole || !json.Valid(line) {
			return "torn line (a write that was cut off): skipped"
		}
		return fmt.Sprintf("not a record (%s): skipped", term.Escape(err.Error()))
	}
	if r.ID == "" || r.V < 1 || r.Event != Begin && r.Event != Done {
		return "not a record (id, version or event is missing): skipped"
	}
	m.add(r)
	return ""
}

func (m *merger) add(r Record) {
	if m.byID == nil {
		m.byID = make(map[string]int)
	}
	i, known := m.byID[r.ID]
	if !known {
		m.byID[r.ID] = len(m.found)
		m.found = append(m.found, r)
		return
	}
	have := &m.found[i]
	switch {
	case have.Event == r.Event: // a copy
	case have.Event == Begin:
		begun := *have
		*have = r
		have.Time = begun.Time
		have.fillFrom(begun)
	default:
		have.Time = r.Time
		have.fillFrom(r)
	}
}

// fillFrom takes from the begin line what the done line does not say again.
func (r *Record) fillFrom(begun Record) {
	fill(&r.Kind, begun.Kind)
	fill(&r.Host, begun.Host)
	fill(&r.By, begun.By)
	fill(&r.Session, begun.Session)
	fill(&r.Login, begun.Login)
	fill(&r.Type, begun.Type)
	fill(&r.Service, begun.Service)
	fill(&r.User, begun.User)
	fill(&r.UID, begun.UID)
	fill(&r.Display, begun.Display)
	fill(&r.Client, begun.Client)
	fill(&r.Reason, begun.Reason)
	fill(&r.Noticed, begun.Noticed)
	fill(&r.NoticedAfter, begun.NoticedAfter)
	if len(r.Program) == 0 {
		r.Program = begun.Program
	}
}

func fill[T comparable](to *T, from T) {
	var zero T
	if *to == zero {
		*to = from
	}
}

func (m *merger) records() []Record {
	slices.SortStableFunc(m.found, func(a, b Record) int { return a.Time.Compare(b.Time) })
	return m.found
}
