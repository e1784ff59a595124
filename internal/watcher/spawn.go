package watcher

import (
	"errors"
	"os"
	"syscall"
)

// spawn starts a program detached: a session of its own, in /, with files as
// its descriptors 0, 1, 2, … and nothing else.
func spawn(path string, argv, environ []string, files []*os.File) (*os.Process, error) {
	return os.StartProcess(path, argv, detached(environ, files))
}

func detached(environ []string, files []*os.File) *os.ProcAttr {
	return &os.ProcAttr{
		Dir: "/", Env: environ, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
}

// startProgram is os.StartProcess for what a user named: without '#!', and if
// it is no binary, it is a shell script, as for execvp(3).
func startProgram(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	p, err := os.StartProcess(path, argv, attr)
	if errors.Is(err, syscall.ENOEXEC) {
		return os.StartProcess("/bin/sh", append([]string{"sh", path}, argv[1:]...), attr)
	}
	return p, err
}

// exitCode is a status in the shell's spelling: 128+n for signal n.
func exitCode(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}
