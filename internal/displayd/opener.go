package displayd

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"syscall"

	"xexit/internal/display"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// task is what an opener was told.
type task struct {
	leader  session.ProcID
	cgroup  string
	display string
	wayland bool
	again   bool
}

// OpenerMain is the opener's process. It has the session user's credentials,
// the socket to answer on as its standard input, and as its standard output a
// file to keep what it finds. The kernel ends it when its time is over,
// whatever the user's processes and files make it wait for.
func OpenerMain(args []string, stderr io.Writer) int {
	if err := linux.DieAfter(openerLimit); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if err := linux.HideMemory(); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	t, err := parseTask(args, stderr)
	if err != nil {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), openerLimit-openerLimit/6)
	defer cancel()
	c, err := t.open(ctx)
	answer, fd := success(c), c.FD
	if err != nil {
		answer, fd = failure(err), none
	}
	if err := answer.send(syscall.Stdin, fd); err != nil {
		return 1 // nobody listens any more
	}
	return 0
}

func parseTask(args []string, stderr io.Writer) (t task, err error) {
	flags := flag.NewFlagSet(OpenerVerb, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&t.leader.PID, "leader", 0, "process that leads the login")
	flags.Uint64Var(&t.leader.Start, "start", 0, "its start time")
	flags.StringVar(&t.cgroup, "cgroup", "", "control group of the login")
	flags.StringVar(&t.display, "display", "", "X display, if it is known")
	flags.BoolVar(&t.wayland, "wayland", false, "it is a Wayland login")
	flags.BoolVar(&t.again, "again", false, "the display of the last time")
	err = flags.Parse(args)
	return t, err
}

// open finds the display and connects.
func (t *task) open(ctx context.Context) (display.Connection, error) {
	var p place
	known := false
	if t.again {
		p, known = readNote(syscall.Stdout)
	}
	if !known {
		var err error
		if p, err = t.find(ctx); err != nil {
			return display.Connection{}, err
		}
	}
	c, err := display.Connect(ctx, display.Options{
		Name: p.Name, Wayland: p.Wayland, Authority: p.Authority, Home: os.Getenv("HOME"), Connection: p.SSH,
	})
	if err == nil && !known {
		p.pin(c)
		p.writeNote(syscall.Stdout)
	}
	return c, err
}
