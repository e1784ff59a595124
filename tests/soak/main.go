// Command soak watches displays of several kinds at once, each with its own
// `xexit watch`, and lets random faults loose on them for as long as it is
// told: servers stopped and grabbed, links that lose packets or are cut and
// heal, watchers that are stopped, a loaded processor. None of that may end a
// session. Now and then a display really goes, and that must be seen. It makes
// a machine of its own (package machine) and fails on one wrong decision.
//
//	soak [-for 1h] [-each 4] [-seed N]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// options of a run.
type options struct {
	length time.Duration
	each   int // displays of each kind
	seed   uint64
	flags  []string // of `xexit watch`
	say    func(format string, args ...any)
}

func main() {
	o := options{say: func(format string, args ...any) {
		fmt.Printf("%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
	}}
	flag.DurationVar(&o.length, "for", time.Hour, "how long; the last displays take a little more")
	flag.IntVar(&o.each, "each", 4, "displays of each kind")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64(), "of the random faults")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	t, err := soak(ctx, o)
	stop()
	if t != nil {
		fmt.Print(t.summary())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(1)
	}
}

// soak makes a machine and runs it for the time. The tally is there whenever
// the machine was.
func soak(ctx context.Context, o options) (t *tally, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root, to make a machine of its own")
	}
	top, err := os.MkdirTemp("/var/tmp", "xexit-soak-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(top)) }()
	stage, base := filepath.Join(top, "stage"), filepath.Join(top, "base")
	if err := errors.Join(os.Chmod(top, 0o755), os.Mkdir(stage, 0o755), os.Mkdir(base, 0o755)); err != nil {
		return nil, err
	}
	repository, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat("soak"); err != nil { // as a test, one further down
		repository = filepath.Dir(repository)
	}
	if err := machine.Stage(repository, stage); err != nil {
		return nil, err
	}
	m, err := machine.Start(stage, base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	return run(ctx, o, m)
}

// run lets all displays live side by side.
func run(ctx context.Context, o options, m *machine.Machine) (*tally, error) {
	t := newTally(o)
	o.say("seed %d (SEED=%d makes the same choices again), %d displays of each kind, for %v", o.seed, o.seed, o.each, o.length)
	if _, err := m.Root("install", "-d", "-o", "alice", "-g", "alice", stamps); err != nil {
		return t, err
	}
	l := limitsFor(o.length)
	l.over = time.Now().Add(o.length)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for k, kind := range []string{kindUnix, kindTCP, kindSSH} {
		for i := range o.each {
			s := &seat{
				m: m, t: t, limits: l, kind: kind, name: fmt.Sprintf("%s%d", kind, i),
				rand: rand.New(rand.NewPCG(o.seed, uint64(k*1000+i))),
			}
			all.Go(func() {
				if err := s.live(ctx); err != nil {
					cancel(fmt.Errorf("%s: %w", s.name, err))
				}
			})
		}
	}
	all.Go(func() {
		if err := load(ctx, m, t, l, rand.New(rand.NewPCG(o.seed, 1<<32))); err != nil {
			cancel(fmt.Errorf("load: %w", err))
		}
	})
	reported := make(chan struct{})
	progress, done := context.WithCancel(ctx)
	go func() {
		defer close(reported)
		t.report(progress)
	}()
	all.Wait()
	done()
	<-reported
	if ctx.Err() != nil {
		return t, context.Cause(ctx)
	}
	return t, t.verdict()
}

// load keeps the processors busy now and then.
func load(ctx context.Context, m *machine.Machine, t *tally, l limits, r *rand.Rand) error {
	for rest(ctx, l.over, between(r, l.stop/4, l.stop)) {
		length := between(r, l.stop/8, l.stop/4)
		count := 2 + r.IntN(6)
		t.fault("cpu", "load")
		_, err := m.Run(machine.RootSocket, agent.Request{
			Argv: []string{"sh", "-c", `for i in $(seq "$2"); do timeout "$1" sh -c 'while :; do :; done' & done; wait`, "load", fmt.Sprint(length.Seconds()), fmt.Sprint(count)},
			Env:  machine.RootEnv(), UID: machine.Users["bob"],
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rest lets time pass; false: the run is over.
func rest(ctx context.Context, over time.Time, d time.Duration) bool {
	timer := time.NewTimer(min(d, time.Until(over)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return time.Now().Before(over)
	case <-ctx.Done():
		return false
	}
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(max(most-least, 1))))
}
