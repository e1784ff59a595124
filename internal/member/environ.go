package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// Reading an environment takes the memory map of the other process. It waits
// while that one forks and has lost its processor (more than a second was
// seen), and for ever if the page is one that a third process has to deliver
// (FUSE, userfaultfd(2)). So a goroutine of its own reads, one list after the
// other; when it makes no progress the one process it is stuck in stays
// unknown, the goroutine is left behind, and a new one reads the rest.
const (
	envPatience = 500 * time.Millisecond
	envLeast    = 500 * time.Millisecond // for a look whose time was over before it came to them
	// Below a subreaper descent tells, and an environment only who is another
	// session's. Where the user has no other one, they are worth no more.
	envBelow   = 250 * time.Millisecond
	maxBlocked = 8 // goroutines left behind; after that nothing is read
)

type envReader struct {
	root    string
	environ environFunc
	names   []string // XEXIT_SESSION, then the ambient markers
	fs      *proc.FS
	job     *envJob
	blocked []*envJob
}

// envJob is one list that one goroutine reads. While it runs, items from next
// on belong to it and those before to the Finder.
type envJob struct {
	fs    *proc.FS
	read  environFunc
	names []string
	items []envItem
	at    int // the item that is being read
	visit func(name int, value []byte)
	count int
	next  atomic.Int64
	state atomic.Int32
	done  chan struct{}
}

// environFunc is (*proc.FS).Environ.
type environFunc func(fs *proc.FS, pid int, names []string, visit func(int, []byte)) error

// The states of an envJob. Finished is set by the goroutine, left by the
// Finder, whichever is first; over follows left when the goroutine is back.
const (
	jobRunning int32 = iota
	jobFinished
	jobLeft
	jobOver
)

type envItem struct {
	pid    int
	unique string
	values []string
	found  uint64
	err    error
}

func newEnvReader(root string, markers []session.Marker) envReader {
	names := []string{session.MarkerName}
	for _, m := range markers {
		names = append(names, m.Name)
	}
	if len(names) > 64 {
		names = names[:64] // envItem.found
	}
	return envReader{root: root, names: names, environ: (*proc.FS).Environ}
}

func (e *envReader) close() {
	if e.fs != nil {
		_ = e.fs.Close()
		e.fs = nil
	}
}

// environments reads the environments of the given processes into their
// records. The error is ctx's.
func (f *Finder) environments(ctx context.Context, queue []*record) error {
	ctx, done := atLeast(ctx, envLeast)
	defer done()
	most := ctx
	if f.t.Bound.ByDescentOnly && len(f.t.Others) == 0 {
		var over context.CancelFunc
		most, over = context.WithTimeout(ctx, envBelow)
		defer over()
	}
	for len(queue) > 0 {
		job, n, err := f.env.read(most, queue, envPatience)
		for k, r := range queue[:n] {
			f.accept(r, &job.items[k])
		}
		if n == len(queue) {
			return nil
		}
		if err != nil {
			for _, r := range queue[n:] {
				f.unknown(r)
			}
			if ctx.Err() != nil {
				return err
			}
			return nil // no descriptor left, or not worth more time: the pass is not clean
		}
		f.unknown(queue[n])
		queue[n].blocked = job
		queue = queue[n+1:]
	}
	return nil
}

// atLeast is ctx, but not over within least, unless it was cancelled: a look may
// be kept from the processor until its time is over.
func atLeast(ctx context.Context, least time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) >= least || errors.Is(ctx.Err(), context.Canceled) {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), least)
}

func (f *Finder) unknown(r *record) {
	r.Env, r.Unique = EnvUnknown, ""
	clear(r.Values)
	f.now.Unknown++
}

// accept stores what was read of one process.
func (f *Finder) accept(r *record, item *envItem) {
	if r.blocked != nil && r.blocked.state.Load() == jobOver {
		r.blocked = nil // from the next pass on
	}
	switch {
	case item.err == nil:
		r.Env, r.Unique = EnvRead, item.unique
		r.Values = append(r.Values[:0], item.values...)
	case errors.Is(item.err, proc.ErrGone):
		r.Dead = true
		f.gone(r.ID.PID)
	case errors.Is(item.err, proc.ErrDenied):
		r.Env, r.Unique = EnvDenied, ""
		clear(r.Values)
	default:
		f.unknown(r)
	}
}

// read reads the environments of queue into job.items and returns how many it
// has read. Fewer than all without an error: it is stuck in the next one, and was
// for patience.
func (e *envReader) read(ctx context.Context, queue []*record, patience time.Duration) (*envJob, int, error) {
	j, err := e.prepare(queue)
	if err != nil {
		return nil, 0, fmt.Errorf("read environments: %w", err)
	}
	go j.run()
	late := time.NewTimer(patience)
	defer late.Stop()
	progress := int64(0)
	for {
		select {
		case <-j.done:
			return j, len(queue), nil
		case <-ctx.Done():
			if e.leave(j) {
				return j, int(j.next.Load()), fmt.Errorf("read environments: %w", ctx.Err())
			}
		case <-late.C:
			now := j.next.Load()
			if now == progress && e.leave(j) {
				return j, int(j.next.Load()), nil
			}
			progress = now
			late.Reset(patience)
		}
	}
}

var errBlocked = errors.New("an earlier read is blocked")

// prepare fills the job.
func (e *envReader) prepare(queue []*record) (*envJob, error) {
	if e.fs == nil {
		fs, err := proc.New(e.root)
		if err != nil {
			return nil, err
		}
		e.fs = fs
	}
	if e.job == nil {
		e.job = &envJob{fs: e.fs, read: e.environ, names: e.names, done: make(chan struct{}, 1)}
		e.job.visit = e.job.value // made once, not for every process
	}
	e.blocked = slices.DeleteFunc(e.blocked, func(b *envJob) bool { return b.state.Load() == jobOver })
	j := e.job
	j.count = len(queue)
	for len(j.items) < j.count {
		j.items = append(j.items, envItem{})
	}
	for k, r := range queue {
		item := &j.items[k]
		item.pid, item.unique, item.values = r.ID.PID, r.Unique, append(item.values[:0], r.Values...)
		for len(item.values) < len(e.names)-1 {
			item.values = append(item.values, "")
		}
		if r.blocked != nil || len(e.blocked) >= maxBlocked {
			item.pid = 0
		}
	}
	j.next.Store(0)
	j.state.Store(jobRunning)
	return j, nil
}

// leave leaves a job to its goroutine, unless it is finished; the next read
// makes a new one.
func (e *envReader) leave(j *envJob) bool {
	if !j.state.CompareAndSwap(jobRunning, jobLeft) {
		return false
	}
	e.job, e.fs = nil, nil
	e.blocked = append(e.blocked, j)
	return true
}

// run is the goroutine.
func (j *envJob) run() {
	for k := range j.count {
		if j.state.Load() != jobRunning {
			break
		}
		j.at = k
		j.items[k].read(j)
		j.next.Store(int64(k + 1))
	}
	if j.state.CompareAndSwap(jobRunning, jobFinished) {
		j.done <- struct{}{}
		return
	}
	_ = j.fs.Close()
	j.state.Store(jobOver)
}

// read fills an item.
func (i *envItem) read(j *envJob) {
	if i.pid == 0 {
		i.err = errBlocked
		return
	}
	i.found = 0
	i.err = j.read(j.fs, i.pid, j.names, j.visit)
	if i.found&1 == 0 {
		i.unique = ""
	}
	for k := range i.values {
		if i.found&(2<<k) == 0 {
			i.values[k] = ""
		}
	}
}

// value takes one variable of the item that is being read. A string that is as
// it was is not made anew.
func (j *envJob) value(name int, v []byte) {
	i := &j.items[j.at]
	i.found |= 1 << name
	to := &i.unique
	if name > 0 {
		to = &i.values[name-1]
	}
	if string(v) != *to {
		*to = string(v)
	}
}
