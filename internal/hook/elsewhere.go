package hook

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// Command is what a Runner is to start: one hook, verified, with what it is to
// have. Its directory is /.
type Command struct {
	Path   string   // the file to execute
	Argv   []string // with its name in front
	Env    []string // all of it
	Input  *os.File // nil: /dev/null
	Output *os.File // for stdout and stderr

	Deadline time.Duration // after it: TERM to all that the hook started
	Grace    time.Duration // after the TERM: KILL
}

// Exit is how a Command went.
type Exit struct {
	Status   int // -1: it was ended by Signal
	Signal   syscall.Signal
	TimedOut bool
	Left     []string // "PID (comm)" that it left running, as far as the runner knows; they were ended
}

// Runner runs hooks outside of this process's reach, as a service manager does.
type Runner interface {
	// Run returns when the command and what it started are gone, or when the
	// runner has taken on to end them; at the latest soon after Deadline and
	// Grace. The error says why it was not run, or why nothing is known of it.
	Run(ctx context.Context, c Command) (Exit, error)
}

// RunBy is Run by way of a Runner. o.As only says whose hook it may be, if not
// root's. With o.Shield the stage is o.Stage, which the runner must be able to
// execute.
func RunBy(ctx context.Context, spec Spec, env []string, o Options, by Runner) Result {
	o = o.withDefaults()
	started := time.Now()
	r := runBy(ctx, spec, env, o, by)
	if r.Unshielded == stageSilent && ctx.Err() == nil && !r.TimedOut {
		o.Shield = false // as Run does
		r = runBy(ctx, spec, env, o, by)
		r.Unshielded = stageSilent
	}
	r.Took = time.Since(started)
	return r
}

func runBy(ctx context.Context, spec Spec, env []string, o Options, by Runner) Result {
	r := Result{Name: filepath.Base(spec.Path), Status: -1}
	uid := os.Geteuid()
	if o.As != nil {
		uid = int(o.As.Uid)
	}
	v, err := verifyHook(spec.Path, uid)
	if err != nil {
		r.Refused = err.Error()
		return r
	}
	c := commandFor(spec.Path, v)
	if !v.sourced && scriptWithoutShebang(c.path) {
		c = *c.byShell()
	}
	out, err := newCollector(o.OutputCap)
	if err != nil {
		r.Failed = err.Error()
		return r
	}
	command := Command{Path: c.path, Argv: c.argv, Env: env, Output: out.write, Deadline: o.Deadline, Grace: o.Grace}
	var g *guard
	if o.Shield {
		if g, err = newGuard(o); err != nil {
			out.close()
			r.Failed = err.Error()
			return r
		}
		command.Path, command.Argv, command.Input = o.Stage, stageInputArgs(c), g.theirs
	}
	exit, err := by.Run(ctx, command)
	out.close()
	if g != nil {
		g.close(&r)
	}
	r.Output, r.Dropped, r.Truncated = out.kept, out.dropped, out.dropped > 0
	if err != nil && r.Failed == "" {
		r.Failed = err.Error()
	}
	if r.Failed != "" {
		return r
	}
	r.Status, r.Signal, r.TimedOut, r.Left = exit.Status, exit.Signal, exit.TimedOut, exit.Left
	return r
}

// scriptWithoutShebang: the kernel would answer ENOEXEC, and a service manager
// has no second try.
func scriptWithoutShebang(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	n, _ := f.Read(magic[:])
	head := string(magic[:n])
	return head != "\x7fELF" && (n < 2 || head[:2] != "#!")
}

// collector captures what is written into a pipe while a hook runs.
type collector struct {
	capture
	write *os.File
	read  *os.File
	fd    int // of read
	done  chan struct{}
}

func newCollector(limit int) (*collector, error) {
	read, write, err := linux.Pipe()
	if err != nil {
		return nil, err
	}
	c := &collector{
		capture: capture{limit: limit}, fd: read,
		read: os.NewFile(uintptr(read), "hook output"), write: os.NewFile(uintptr(write), "hook output"),
		done: make(chan struct{}),
	}
	go c.collect()
	return c, nil
}

// collect reads until all writers are gone or close is called.
func (c *collector) collect() {
	defer close(c.done)
	buf := make([]byte, len(c.buf))
	for {
		n, err := c.read.Read(buf)
		c.take(buf[:n])
		if err != nil {
			return
		}
	}
}

// close takes what is in the pipe and waits for nobody: what the hook left
// behind may hold the other end for ever.
func (c *collector) close() {
	_ = c.write.Close()
	_ = c.read.SetReadDeadline(time.Now()) // a pipe that does not block has deadlines
	<-c.done
	c.drain(c.fd)
	_ = c.read.Close()
}
