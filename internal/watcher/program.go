package watcher

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"xexit/internal/display"
	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// recordPatience is how long a record may take: a history that cannot be
// written does not hold up an end.
const recordPatience = 5 * time.Second

// ended runs the program. Until it is started nothing slow may happen here:
// whoever logs in again is waiting for it.
func (r *resident) ended(end display.End) int {
	at := linux.BootTicks()
	if why := r.claim(at); why != "" {
		r.report.notef("session %s: %s, but %s: nothing to do", r.name(), end.Noticed, why)
		return exitDone
	}
	given, err := readEnviron(r.environ)
	if err != nil {
		r.report.failf("%v", err) // and go on with what is ours
	}
	f := facts{id: r.entry.ID, end: end, display: r.display, at: at, uid: r.entry.UID}
	environ := f.environ(given)
	out, outErr := r.output()
	child, err := r.start(end, environ, out)
	r.sayOver(end, child, err)
	if outErr != nil {
		r.report.failf("the output of the program goes nowhere: %v", outErr)
	}
	o := output{file: out, kept: outErr == nil}
	defer o.close()
	if r.program.builtin {
		if err != nil {
			return exitFailed
		}
		return r.finishEnd(child, o)
	}
	return r.finishProgram(child, err, environ, f, o)
}

func (r *resident) sayOver(end display.End, child *os.Process, err error) {
	took := end.Took.Round(100 * time.Microsecond)
	r.report.notef("session %s is over (%s: %s; noticed after %s): %s", r.name(), end.Reason, end.Noticed, took, r.doing(child, err))
}

// claim moves the session to 'ending'; why is not empty if somebody else has
// ended it or is about to.
func (r *resident) claim(at uint64) (why string) {
	if r.handle == nil {
		r.entry.Phase, r.entry.EndedAt = session.PhaseEnding, at
		err := r.register()
		var watched *registry.WatchedError
		if errors.As(err, &watched) {
			return err.Error()
		}
		if err != nil {
			r.report.failf("session %s cannot be registered: %v", r.entry.ID, err)
		}
		return ""
	}
	before := session.PhaseWatching
	err := r.handle.Update(func(e *registry.Entry) {
		before = e.Phase
		e.Phase, _ = e.Phase.Next(session.PhaseEnding)
		if e.EndedAt == 0 {
			e.EndedAt = at
		}
	})
	if err != nil {
		r.report.failf("session %s: %v", r.entry.ID, err)
	}
	switch before {
	case session.PhaseEnded:
		return "it has been ended before"
	case session.PhaseEnding:
		// Somebody's, unless he died over it.
		release, err := r.registry.BeginEnd(r.entry.ID)
		if err != nil {
			return err.Error()
		}
		release()
	}
	return ""
}

// output opens the file for the program's output. Not a pipe: the program may
// end its watcher, and must not die of SIGPIPE then.
func (r *resident) output() (*os.File, error) {
	f, err := os.OpenFile(r.registry.Path()+"/"+string(r.entry.ID)+".out", os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return r.null, err
	}
	return f, nil
}

func (r *resident) start(end display.End, environ []string, out *os.File) (*os.Process, error) {
	files := []*os.File{r.null, out, out}
	if r.program.builtin {
		argv := append([]string{"xexit", "end", "--session", string(r.entry.ID), "--reason", string(end.Reason)}, r.program.argv...)
		return r.spawnMain(argv, environ, files)
	}
	return startProgram(r.program.path, r.program.argv, detached(environ, files))
}

// spawnMain starts xexit-main as it was when the watcher started.
func (r *resident) spawnMain(argv, environ []string, files []*os.File) (*os.Process, error) {
	if r.mainFile == nil {
		return nil, fmt.Errorf("%s was missing when the watcher started", MainName)
	}
	return spawn(openPath(r.mainFile), argv, environ, files)
}

// openPath names an open file for execve(2). The descriptor is closed on
// exec, but the name is resolved before.
func openPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

func (r *resident) doing(child *os.Process, err error) string {
	what := "`xexit end`"
	if !r.program.builtin {
		what = r.program.path
	}
	if err != nil {
		return "cannot run " + what + ": " + err.Error()
	}
	return "running " + what + " as process " + strconv.Itoa(child.Pid)
}

// finishEnd waits for `xexit end`, which writes its own record.
func (r *resident) finishEnd(child *os.Process, o output) int {
	status := r.await(child)
	if status == exitDone {
		r.report.notef("session %s: ended", r.name())
	} else {
		r.report.failf("session %s: `xexit end` exited with status %d: %s", r.name(), status, o.tail())
	}
	o.show(r.report)
	o.remove()
	if status != exitDone {
		if err := r.handle.Leave(); err != nil {
			r.report.failf("%v", err)
		}
		return exitFailed
	}
	return exitDone
}

// finishProgram waits for a PROGRAM and sees to its record, which begins
// beside it and so never delays it. failed is why there is no child.
func (r *resident) finishProgram(child *os.Process, failed error, environ []string, f facts, o output) int {
	fields := f.fields(r.program, o.path())
	recorded := r.record("begin", fields, environ)
	status := 127 // could not be run (sh(1))
	if child != nil {
		status = r.await(child)
		r.report.notef("session %s: %s exited with status %d", r.name(), r.program.path, status)
	}
	recorded()
	fields = append(fields, "status="+strconv.Itoa(status))
	if failed != nil {
		fields = append(fields, "problem="+printable(failed.Error()))
	}
	done := r.record("done", fields, environ)
	o.show(r.report)
	if done() || o.empty() {
		o.remove()
	} else if o.kept {
		r.report.failf("session %s: the output of %s is not in the history; it is in %s", r.name(), r.program.path, o.path())
	}
	if status != 0 {
		return exitFailed
	}
	return exitDone
}

// await waits for the program. Signals are noted and nothing more: a script
// that ends all of its user's processes begins with TERM, also to us.
func (r *resident) await(child *os.Process) int {
	exited := make(chan int, 1)
	go func() {
		state, err := child.Wait()
		if err != nil {
			exited <- exitFailed
			return
		}
		exited <- exitCode(state)
	}()
	for {
		select {
		case status := <-exited:
			return status
		case sig := <-r.signals:
			r.report.notef("session %s: got signal %q while the program runs; staying to see its end", r.name(), sig)
		}
	}
}

// record has xexit-main write one line of the history, beside whatever else
// happens. finish waits for it, within bounds, and reports whether it did.
func (r *resident) record(event string, fields, environ []string) (finish func() bool) {
	argv := append([]string{"xexit", "record", event}, fields...)
	child, err := r.spawnMain(argv, environ, []*os.File{r.null, r.null, r.null})
	if err != nil {
		r.report.failf("session %s: cannot be recorded: %v", r.name(), err)
		return func() bool { return false }
	}
	exited := make(chan bool, 1)
	go func() {
		state, err := child.Wait()
		exited <- err == nil && state.Success()
	}()
	enough := time.NewTimer(recordPatience)
	return func() bool {
		defer enough.Stop()
		select {
		case ok := <-exited:
			if !ok {
				r.report.failf("session %s: writing the record (%s) failed", r.name(), event)
			}
			return ok
		case <-enough.C:
			_ = child.Kill() // by its pidfd; in state D it is left behind
			r.report.failf("session %s: the record (%s) was not written within %s", r.name(), event, recordPatience)
			return false
		}
	}
}

// output is the file that a program writes to.
type output struct {
	file *os.File
	kept bool // it is a file, and not /dev/null
}

func (o output) path() string {
	if !o.kept {
		return ""
	}
	return o.file.Name()
}

func (o output) empty() bool {
	info, err := o.file.Stat()
	return err == nil && info.Size() == 0
}

func (o output) close() {
	if o.kept {
		_ = o.file.Close()
	}
}

func (o output) remove() {
	if o.kept {
		_ = os.Remove(o.file.Name())
	}
}

// tail is the end of what was written, for one line of a log.
func (o output) tail() string {
	const most = 400
	text := ""
	if o.kept {
		text, _ = readAll(o.file)
	}
	text = strings.TrimSpace(text)
	if len(text) > most {
		text = "…" + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return strings.ReplaceAll(text, "\n", " | ")
}

// show repeats the output for somebody at a terminal.
func (o output) show(to reporter) {
	if to.stderr == nil || !o.kept {
		return
	}
	text, _ := readAll(o.file)
	for line := range strings.Lines(text) {
		_, _ = to.stderr.Write([]byte("  " + printable(strings.TrimSuffix(line, "\n")) + "\n"))
	}
}
