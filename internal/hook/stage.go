package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"

	"xexit/internal/linux"
)

// A shielded hook is started by way of a stage: this program once more, which
// puts the filter on itself and then becomes the hook.
//
//	Run                              stage                      hook
//	 │  fork, setsid, exec self ──────▶│
//	 │                                 │ seccomp(NEW_LISTENER)
//	 │◀── "shielded" + listener fd ────│        or
//	 │◀── "unshielded: REASON" ────────│
//	 │                                 │ execve ───────────────▶│
//	 │◀── end of file (close on exec) ─┘                        │
//	 │◀── "failed: REASON", exit 127, if execve did not work    │
//	 │                                                          │
//	 │◀── notification: kill(-1, SIGKILL) by PID ───────────────│ waits
//	 │─── EPERM, or: go on ────────────────────────────────────▶│
//
// The messages go over a SOCK_SEQPACKET pair whose other end is the stage's
// descriptor 3. The listener is closed on exec by the kernel's own choice, so
// that the hook has neither.

// StageVerb is the first argument that makes the program call StageMain with
// the arguments after it. It is not for people.
const StageVerb = "__hook-exec"

// stageSocket is the stage's end of the pair.
const stageSocket = 3

// The first byte of a stage's message says what the rest is.
const (
	msgShielded   = 'S' // the listener comes with it
	msgUnshielded = 'U' // why
	msgFailed     = 'F' // why the hook could not be executed
)

// StageInputVerb is StageVerb where the stage's end of the pair is its input:
// a Runner can pass no other. It calls StageInputMain.
const StageInputVerb = "__hook-exec-input"

// stageInputArgs is stageArgs for it.
func stageInputArgs(c command) []string {
	return append([]string{"xexit-hook", StageInputVerb, c.path}, c.argv...)
}

// StageInputMain is StageMain for StageInputVerb. The hook's input is /dev/null.
func StageInputMain(args []string) int {
	socket, err := syscall.Dup(0)
	if err != nil {
		return 127
	}
	null, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err == nil {
		err = syscall.Dup3(null, 0, 0)
	}
	if err != nil {
		return 127
	}
	return stageMain(args, socket)
}

// stageArgs is what StageMain is given for c, with the verb.
func stageArgs(c command) []string {
	return append([]string{"xexit-hook", StageVerb, c.path}, c.argv...)
}

// StageMain is the stage: args are the path to execute and the whole argument
// list for it. It returns, with an exit status, only if it did not become the
// hook.
func StageMain(args []string) int { return stageMain(args, stageSocket) }

func stageMain(args []string, socket int) int {
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "xexit: "+StageVerb+" is started by xexit end and not by hand")
		return 2
	}
	syscall.CloseOnExec(socket)
	runtime.LockOSThread() // the filter is the thread's, and execve keeps the thread
	debug.SetGCPercent(-1) // see linux.NotifySignals
	command := command{path: args[0], argv: args[1:]}
	shell := command.byShell() // before the filter: it reads the file
	env := os.Environ()

	listener, err := linux.NotifySignals()
	switch {
	case err == nil:
		err = linux.SendMessage(socket, []byte{msgShielded}, listener)
	case linux.NotifyUnsupported(err):
		err = tell(socket, msgUnshielded, err)
	default:
		_ = tell(socket, msgFailed, fmt.Errorf("shield: %w", err))
		return 127
	}
	if err != nil { // nobody listens
		return 127
	}
	err = syscall.Exec(command.path, command.argv, env)
	if errors.Is(err, syscall.ENOEXEC) && shell != nil {
		err = syscall.Exec(shell.path, shell.argv, env)
	}
	_ = tell(socket, msgFailed, fmt.Errorf("execve %s: %w", command.path, err))
	return 127
}

func tell(socket int, kind byte, err error) error {
	return linux.SendMessage(socket, append([]byte{kind}, err.Error()...), -1)
}

// command is what execve(2) is called with.
type command struct {
	path string
	argv []string
}

// shellPath is the Bourne shell that sources fragments and runs scripts that
// name no interpreter.
const shellPath = "/bin/sh"

// commandFor is how the hook at path, verified as v, is started. A fragment's
// path is an argument, so that no character in it means anything to the shell.
func commandFor(path string, v verified) command {
	if v.sourced {
		return command{shellPath, []string{"sh", "-c", `. "$1"`, "xexit", v.target}}
	}
	return command{v.target, []string{path}}
}

// byShell is the second try, for a program that the kernel answers with
// ENOEXEC: a script without a shebang, as execvp(3) and shells do it. nil for an
// ELF file, which is for another machine then. Formats that binfmt_misc knows
// never come here.
func (c command) byShell() *command {
	f, err := os.Open(c.path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err == nil && bytes.Equal(magic[:], []byte("\x7fELF")) {
		return nil
	}
	return &command{shellPath, []string{"sh", c.path}}
}
