package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xexit/internal/term"
)

// AppendVerb is the hidden verb by which a program runs AppendMain in a child.
const AppendVerb = "__append"

// DefaultDeadline is how long the child may take to write the lasting file.
const DefaultDeadline = 3 * time.Second

// Writer writes the records of ends. Its zero value writes nothing; the fields
// are set once. One Writer is for one end and not for concurrent use.
type Writer struct {
	Runtime  string        // runtime directory for the first copy; "": none
	State    string        // directory of the lasting file, see StateDir; "": none
	Host     string        // this host's name
	Command  []string      // runs AppendMain on the arguments that follow: SELF, AppendVerb
	Deadline time.Duration // for the child; 0: DefaultDeadline
	// Once: the end may have been begun before, by a process that was killed at
	// any instant. No file gets a line twice.
	Once bool

	begun [][]byte // lines that only the first copy has
}

// NotWritten is the error of a Writer: which file lacks a record, why, and
// where the record is nevertheless.
type NotWritten struct {
	File string
	Why  string // in words, with what to do
	Kept string // "": nowhere
}

func (e *NotWritten) Error() string {
	text := fmt.Sprintf("record not written to %s: %s", term.Escape(e.File), term.Escape(e.Why))
	if e.Kept != "" {
		text += "; kept in " + term.Escape(e.Kept)
	}
	return text
}

// Begin writes the begin line of an end into the runtime directory, and waits
// for nothing else. Done will bring it into the lasting file.
func (w *Writer) Begin(r Record) error {
	r.Event = Begin
	line, err := encode(r)
	if err != nil {
		return err
	}
	if w.Once {
		known, err := Find(r.ID, RuntimeFile(w.Runtime))
		if err == nil && known.Begin != nil {
			line = known.Begin // as the earlier attempt had it
		}
	}
	w.begun = append(w.begun, line)
	return w.first(line)
}

// Done writes the done line into the runtime directory, then begin and done
// into the lasting file. It returns within the deadline, or when ctx is done,
// whatever the file system does. Its errors are of type *NotWritten, joined.
func (w *Writer) Done(ctx context.Context, r Record) error {
	r.Event = Done
	line, err := encode(r)
	if err != nil {
		return err
	}
	firstErr := w.first(line)
	w.begun = append(w.begun, line)
	return errors.Join(firstErr, w.flush(ctx, firstErr == nil))
}

// Flush brings the begin line into the lasting file now, for a program whose
// end another process will record. It is bounded like Done.
func (w *Writer) Flush(ctx context.Context) error { return w.flush(ctx, true) }

// flush writes what only the first copy has; copied says whether that has all of it.
func (w *Writer) flush(ctx context.Context, copied bool) error {
	lines := bytes.Join(w.begun, nil)
	w.begun = nil
	if w.State == "" || len(lines) == 0 {
		return nil
	}
	why := w.last(ctx, lines)
	if why == nil {
		return nil
	}
	missing := &NotWritten{File: StateFile(w.State, w.Host), Why: why.Error()}
	if w.Runtime != "" && copied {
		missing.Kept = RuntimeFile(w.Runtime)
	}
	return missing
}

// first writes the copy in the runtime directory.
func (w *Writer) first(line []byte) error {
	if w.Runtime == "" {
		return nil
	}
	path := RuntimeFile(w.Runtime)
	put := appendLines
	if w.Once {
		put = appendOnce
	}
	if err := put(path, DefaultLimit, line); err != nil {
		return &NotWritten{File: path, Why: explain(err)}
	}
	return nil
}

// last has a child write the lasting file. A child that hangs in the file
// system may not even be killable (a dead NFS server), nor may its exec
// return: nothing here waits for either beyond the deadline.
func (w *Writer) last(ctx context.Context, lines []byte) error {
	deadline := w.Deadline
	if deadline == 0 {
		deadline = DefaultDeadline
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	started, done := make(chan *os.Process, 1), make(chan error, 1)
	go w.child(lines, started, done)
	var child *os.Process
	for {
		select {
		case child = <-started:
		case err := <-done:
			return err
		case <-ctx.Done():
			if child != nil {
				_ = child.Kill() // through its pidfd; gone already is fine
			} else {
				go endLate(started, done)
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("no answer within %s: does its file system hang?", term.Duration(deadline))
			}
			return ctx.Err()
		}
	}
}

// endLate ends a child that was still being started when the time was over.
func endLate(started <-chan *os.Process, done <-chan error) {
	select {
	case child := <-started:
		_ = child.Kill()
	case <-done:
	}
}

// child runs the command with the lines on its standard input and tells how
// it went.
func (w *Writer) child(lines []byte, started chan<- *os.Process, done chan<- error) {
	if len(w.Command) == 0 {
		done <- errors.New("no command to write it with")
		return
	}
	args := append(w.Command[1:len(w.Command):len(w.Command)], w.State, w.Host)
	if w.Once {
		args = append(args, onceArg)
	}
	cmd := exec.Command(w.Command[0], args...)
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(lines), &complaint
	cmd.Dir, cmd.Env = "/", []string{}
	// A key typed at the terminal is for the end, not for its record.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // for stderr, if something else holds it open
	if err := cmd.Start(); err != nil {
		done <- fmt.Errorf("start the child that writes it: %w", err)
		return
	}
	started <- cmd.Process
	err := cmd.Wait()
	if text := strings.TrimSpace(complaint.String()); err != nil && text != "" {
		err = errors.New(text)
	}
	done <- err
}

// onceArg makes AppendMain leave out what the file has.
const onceArg = "once"

// AppendMain is the child: it appends the lines on stdin to the file of a host
// in a directory (its first two arguments), and complains on standard error, in one
// line for the parent to pass on. It returns the exit status.
func AppendMain(args []string, stdin io.Reader) int {
	if err := appendStdin(args, stdin); err != nil {
		fmt.Fprintln(os.Stderr, explain(err))
		return 1
	}
	return 0
}

func appendStdin(args []string, stdin io.Reader) error {
	put := appendLines
	switch {
	case len(args) == 3 && args[2] == onceArg:
		put = appendSystem
	case len(args) != 2:
		return errors.New("usage: " + AppendVerb + " DIR HOST [once], got " + strconv.Itoa(len(args)) + " arguments")
	}
	text, err := io.ReadAll(stdin)
	if err != nil {
		return err
	}
	if len(text) == 0 || text[len(text)-1] != '\n' {
		return errors.New("the record did not arrive whole")
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	return put(StateFile(args[0], args[1]), DefaultLimit, lines[:len(lines)-1]...)
}
