package displayd

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"xexit/internal/display"
	"xexit/internal/linux"
)

// Times of the worker.
const (
	openingsAtOnce = 16 // displays that are opened for the first time
	firstRetry     = time.Second
	lastRetry      = time.Minute
	pauseOfDaemons = time.Second / 2 // between two tries to reach the daemon
	beatEvery      = 20 * time.Second
	resultPatience = openerPatience + slotPatience // until an opener that was asked for has answered
)

// WorkerMain is the worker's process: it serves the daemon behind --socket,
// again and again, or the one at its standard input until that goes. It is a
// composition root: it logs.
func WorkerMain(args []string, stderr io.Writer) int {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	flags := flag.NewFlagSet(WorkerVerb, flag.ContinueOnError)
	flags.SetOutput(stderr)
	socket := flags.String("socket", "", "where the daemon listens")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := confine(); err != nil {
		log.Error("the display worker does not start", "err", err)
		return 1
	}
	err := runWorker(ctx, *socket, log)
	if err == nil || ctx.Err() != nil {
		return 0
	}
	log.Error("the display worker ends", "err", err)
	return 1
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{} // the journal has it
	}
	return a
}

// confine gives up what a process of no rights may still do: gain some, and be
// looked into by others of its user.
func confine() error {
	if _, err := linux.ExecConfined(os.Args, os.Environ()); err != nil {
		return err
	}
	return linux.HideMemory()
}

func runWorker(ctx context.Context, socket string, log *slog.Logger) error {
	w, err := newWorker(log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer func() {
		cancel()
		all.Wait()
		_ = w.set.Close()
	}()
	failed := make(chan error, 1)
	all.Go(func() {
		failed <- w.set.Run(ctx, func(n display.News) { w.inbox.put(func() { w.news(n) }) })
		cancel()
	})
	all.Go(func() { w.watchdog(ctx) })
	all.Go(func() { w.work(ctx) })
	if socket == "" {
		conn, err := seqpacket(syscall.Stdin)
		if err == nil {
			err = w.serve(ctx, conn)
		}
		return err
	}
	for said := ""; ctx.Err() == nil; {
		err := w.reach(ctx, socket)
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			log.Warn("no daemon", "err", err)
		}
		pause(ctx, pauseOfDaemons)
	}
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (w *worker) reach(ctx context.Context, socket string) error {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return err
	}
	return w.serve(ctx, conn)
}

// serve listens to one daemon until it is gone, which is the error.
func (w *worker) serve(ctx context.Context, conn *net.UnixConn) error {
	l := newLink(conn)
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer l.close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := l.hello(); err != nil {
		return err
	}
	all.Go(func() { l.write(ctx) })
	w.do(func() { w.begin(l) })
	err := l.read(func(m message, fd int) error {
		w.do(func() { w.heard(l, m, fd) })
		return nil
	})
	w.do(func() { w.end(l) })
	return fmt.Errorf("the daemon is gone: %w", err)
}

// do has f done by the goroutine that all of the worker's state belongs to.
func (w *worker) do(f func()) { w.inbox.put(f) }

func (w *worker) work(ctx context.Context) {
	for {
		f, ok := w.inbox.take(ctx)
		if !ok {
			w.closeAll()
			return
		}
		f()
	}
}

// watchdog ends the process if its loop does not go round any more: one that is
// started in its place sees what this one does not.
func (w *worker) watchdog(ctx context.Context) {
	round := make(chan struct{}, 1)
	round <- struct{}{}
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for late := 0; ; late++ {
		select {
		case <-round:
			late = 0
			w.set.Do(func() { round <- struct{}{} })
		default:
			if late > 2 {
				w.log.Error("the display worker hangs")
				os.Exit(1)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
