package watcher

import (
	"errors"
	"os"
	"syscall"
)

// spawn starts a program detached: a session of its own, in /, with files as
// its descriptors 0, 1, 2, … and nothing else.
func spawn(path string, argv, environ []string, files []*os.File) (*os.Process, error) {
	return os.StartProcess(path, argv, &os.ProcAttr{
		Dir: "/", Env: environ, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
}

// spawnProgram is spawn for a PROGRAM: what has no '#!' and is no binary is a
// shell script, as for execvp(3).
func spawnProgram(path string, argv, environ []string, files []*os.File) (*os.Process, error) {
	p, err := spawn(path, argv, environ, files)
	if errors.Is(err, syscall.ENOEXEC) {
		return spawn("/bin/sh", append([]string{"sh", path}, argv[1:]...), environ, files)
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
