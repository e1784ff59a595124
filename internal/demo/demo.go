// Package demo is the show behind `xexit demo`: two sessions of one user on two
// built-in X servers, full of processes that do not go by themselves. The
// cable of one is pulled. What happens then is done by the real programs by
// their real way (xexit session, xexit end, hooks, registry, records); what is
// printed was measured in that run, and checked apart from what they say.
//
// Everything lies in one private directory and below one subreaper, this
// process. Nothing that decides who is ended belongs here, except for the net
// under the show (guard.go).
//
//	xexit demo ─┬─ display A ┄┄ watched ┄┄ xexit session ── leader ── leftovers
//	            ├─ display B ┄┄ watched ┄┄ xexit session ── leader ── leftovers
//	            └─ FIFO ◀─ steps ── xexit end (of A, started by its xexit session)
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"xexit/internal/linux"
	"xexit/internal/term"
)

// Options say how to run the demo.
type Options struct {
	Self  string // xexit-main, whose RoleVerb the processes are
	Small string // xexit
	User  string // for the text
	Grace time.Duration
	Out   io.Writer
	Style term.Style
}

// ErrNotProved is returned where something was not as the demo claims: it was
// printed what.
var ErrNotProved = errors.New("not everything was proved, see above")

// demo is one run.
type demo struct {
	Options
	children *children
	guard    *guard
	stage    *stage
	acts     []*act
	failures []string
}

// Run shows it all. However it ends, nothing of it is left: also when ctx is
// done meanwhile, which is its error then. It makes this process a subreaper
// and collects all of its children: it is for a process that does nothing else.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{Options: o}
	if err := linux.BecomeSubreaper(); err != nil {
		return err
	}
	if d.guard, err = newGuard(); err != nil {
		return err
	}
	defer d.guard.close()
	d.children = collectChildren()
	defer d.children.close()
	if d.stage, err = newStage(o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.clear()) }()
	if err := d.show(ctx); err != nil {
		return err
	}
	if len(d.failures) > 0 {
		return ErrNotProved
	}
	return nil
}

// clear removes what is left. After a whole show that is the directory only.
func (d *demo) clear() error {
	_, err := d.guard.clear()
	for _, a := range d.acts {
		a.server.PullCable()
	}
	return errors.Join(err, d.stage.remove())
}

// show is the whole of it. Its error means that it could not go on.
func (d *demo) show(ctx context.Context) error {
	a, err := d.raise(ctx, "A", "--progress", d.stage.progress)
	if err != nil {
		return err
	}
	b, err := d.raise(ctx, "B")
	if err != nil {
		return err
	}
	d.introduce(a, b)
	t, err := d.pull(ctx, a)
	if err != nil {
		return a.explain(err)
	}
	d.tabulate(a, t)
	d.untouched(b)
	if err := d.endPolitely(ctx, b); err != nil {
		return b.explain(err)
	}
	d.nothingLeft()
	return nil
}

func (d *demo) introduce(a, b *act) {
	d.say(term.Bold, "Two sessions of %s, on a display each, of %d processes each:", d.User, castSize())
	for _, s := range []*act{a, b} {
		fmt.Fprintf(d.Out, "  %s  %s, below its own xexit (%d)\n", s.name, s.id.Short(), s.pid)
	}
	var names []string
	for _, k := range kinds() {
		text := k.name
		if k.count > 1 {
			text = fmt.Sprintf("%d %ss", k.count, k.name)
		}
		names = append(names, text)
	}
	fmt.Fprintf(d.Out, "  in each: %s\n\n", strings.Join(names, ", "))
}

// pull pulls the cable of A's display and shows what xexit does, until it is
// done.
func (d *demo) pull(ctx context.Context, a *act) (*timeline, error) {
	fifo, err := openProgress(d.stage.progress)
	if err != nil {
		return nil, err
	}
	defer fifo.Close()
	t := &timeline{out: d.Out, style: d.Style, steps: readSteps(fifo)}
	now, err := linux.Now()
	if err != nil {
		return nil, err
	}
	t.zero = now.Monotonic
	t.line(0, "the cable of A's display is pulled", term.Bold)
	a.server.PullCable()
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	over := make(chan error, 1)
	go func() {
		over <- await(ctx, a.ended)
		_, _ = fifo.WriteString("\n") // nobody writes into it any more
	}()
	t.follow()
	fmt.Fprintln(d.Out)
	if err := <-over; err != nil {
		return nil, fmt.Errorf("session A was not ended: %w", err)
	}
	return t, nil
}

// endPatience is for a machine that has other things to do.
const endPatience = 60 * time.Second

func await(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endPolitely ends a session by the command, as its user would.
func (d *demo) endPolitely(ctx context.Context, b *act) error {
	log, err := os.OpenFile(b.log, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	argv := []string{d.Small, "end", "--session", string(b.id), "--config", d.stage.config}
	pid, ended, err := d.children.start(argv, d.stage.environ, []*os.File{null, log, log})
	if err != nil {
		return fmt.Errorf("start xexit end: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	if err := errors.Join(await(ctx, ended), await(ctx, b.ended)); err != nil {
		return fmt.Errorf("session B was not ended: %w", err)
	}
	status := d.children.statusOf(pid)
	r, err := d.stage.record(b.id)
	left := d.alive(b)
	ok := err == nil && status == 0 && r.Verified && left == 0
	d.check(ok, "B was then ended by `xexit end`: %d of %d gone, %s", len(b.members)-left, len(b.members), outcome(r, status, err))
	return nil
}

func (d *demo) alive(a *act) int {
	left := 0
	for _, m := range a.members {
		if !gone(d.guard.fs, m.stat.ID()) {
			left++
		}
	}
	return left
}

func (d *demo) nothingLeft() {
	left, err := d.guard.empty()
	switch {
	case err != nil:
		d.check(false, "whether anything of the demo is left: %v", err)
	case len(left) > 0:
		var names []string
		for _, s := range left {
			names = append(names, fmt.Sprintf("%d %s", s.PID, s.Comm))
		}
		d.check(false, "left below this process, and ended now: %s", strings.Join(names, ", "))
	default:
		d.check(true, "nothing of the demo is left: a scan found no process below this one")
	}
}

// check prints whether something was found to be so.
func (d *demo) check(ok bool, format string, args ...any) {
	text := term.Escape(fmt.Sprintf(format, args...))
	if ok {
		fmt.Fprintf(d.Out, "%s  %s\n", d.Style.Paint(term.Green, "  proved"), text)
		return
	}
	d.failures = append(d.failures, text)
	fmt.Fprintf(d.Out, "%s  %s\n", d.Style.Paint(term.Red, "  FAILED"), text)
}

func (d *demo) say(c term.Colour, format string, args ...any) {
	fmt.Fprintln(d.Out, d.Style.Paint(c, fmt.Sprintf(format, args...)))
}
