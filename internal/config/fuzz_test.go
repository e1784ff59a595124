package config

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

var placed = regexp.MustCompile(`^x\.toml:[1-9][0-9]*:[1-9][0-9]*: .`)

// FuzzConfig: whatever is in a file, reading it ends, and every problem has a
// place in it and no control characters.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../../share/xexit.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	for _, c := range badInput {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := &decoder{config: Default(), names: make(map[string]Position)}
		d.file("x.toml", []byte(text))
		lines := 1 + strings.Count(text, "\n")
		for _, p := range d.problems {
			s := p.String()
			if !placed.MatchString(s) || strings.ContainsAny(s, "\n\x1b") || p.Line > lines {
				t.Errorf("problem %q", s)
			}
		}
		for _, k := range d.config.Keep {
			if len(d.problems) == 0 && (k.Name == "" || len(k.Programs) == 0) {
				t.Errorf("accepted %+v", k)
			}
		}
	})
}

// FuzzScript: guessing what a script starts ends, and names only programs.
func FuzzScript(f *testing.F) {
	f.Add("#!/bin/sh\nA=/bin\nB=$A/sh\nexec \"${B}\" x\n")
	f.Add("#!/usr/bin/env -S perl\nA=$A$A$A$A\nexec $A$A$A$A$A$A$A$A\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := &script{interpreter: "/bin/sh", text: text}
		m := machine{user: func(string) (uint32, error) { return 0, errors.New("not asked") }}
		if program := s.program(m, 0); program != "" {
			if _, err := os.Stat(program); err != nil {
				t.Error(err)
			}
		}
	})
}
