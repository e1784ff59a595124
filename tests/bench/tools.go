package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"xexit/tests/machine"
)

// tools are the programs that the figures are taken with, and where machines
// are made.
type tools struct {
	stage, top string
	many       string // watches any number of displays in one process
	fakes      string // is any number of displays
	rival      string // C and Xlib: the first xexit's design
	largest    int    // crowd among which something is ended
}

// rivalProgram is the rival in a machine.
const rivalProgram = "/usr/libexec/xexit-test/rival"

func makeTools(repository, top string) (*tools, error) {
	t := &tools{
		top: top, stage: filepath.Join(top, "stage"),
		many: filepath.Join(top, "many"), fakes: filepath.Join(top, "fakes"),
	}
	if err := os.Mkdir(t.stage, 0o755); err != nil {
		return nil, err
	}
	if err := machine.Stage(repository, t.stage); err != nil {
		return nil, err
	}
	t.rival = filepath.Join(t.stage, rivalProgram)
	for _, argv := range [][]string{
		{"go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", t.many, "./internal/display/testdata/many"},
		{"go", "build", "-buildvcs=false", "-o", t.fakes, "./internal/display/testdata/fakes"},
		{"gcc", "-O2", "-s", "-static", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(t.stage, crowdProgram), "tests/bench/crowd/crowd.c"},
		{"gcc", "-O2", "-s", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(t.stage, floorProgram), "tests/bench/floor/floor.c"},
		{"gcc", "-O2", "-s", "-Wall", "-Wextra", "-Werror", "-o", t.rival, "tests/bench/rival/rival.c", "-lX11", "-lpthread"},
	} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = repository
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", argv, err, out)
		}
	}
	return t, nil
}

// inMachine is a measurement in a machine of its own.
func inMachine(measure func(m *machine.Machine, rounds int) ([]row, error)) func(*tools, int) ([]row, error) {
	return func(t *tools, rounds int) (rows []row, err error) {
		base, err := os.MkdirTemp(t.top, "machine-")
		if err != nil {
			return nil, err
		}
		m, err := machine.Start(t.stage, base)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, m.Stop()) }()
		return measure(m, rounds)
	}
}
