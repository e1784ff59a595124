package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"xexit/internal/conflict"
	"xexit/internal/doctor"
	"xexit/internal/ipc"
)

// health is how the source does: it is watched in a goroutine of its own.
type health struct {
	mu    sync.Mutex
	since time.Time
	err   error
}

// well says that it tells of logins.
func (h *health) well() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil || h.since.IsZero() {
		h.since, h.err = time.Now(), nil
	}
}

func (h *health) ill(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

func (h *health) state(name string) ipc.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.err != nil:
		return ipc.State{Name: name, Text: h.err.Error()}
	case h.since.IsZero():
		return ipc.State{Name: name, Text: "it has not answered yet"}
	}
	return ipc.State{Name: name, Alive: true, Text: "since " + h.since.Format(time.RFC3339)}
}

// examine finds out what on this host is in the daemon's way, at its start and
// whenever the configuration is new.
func (d *Daemon) examine(ctx context.Context) {
	for {
		select {
		case keeps := <-d.recheck:
			d.examineOnce(ctx, keeps)
		case <-ctx.Done():
			return
		}
	}
}

// examineOnce says what is in the way, and keeps it for those who ask. It asks
// the bus, and so may take its time.
func (d *Daemon) examineOnce(ctx context.Context, keeps int) {
	limited, cancel := context.WithTimeout(ctx, examinePatience)
	defer cancel()
	host := conflict.Host{Root: d.o.Root, Proc: d.o.Proc, Keeps: keeps}
	found := conflict.Find(limited, host)
	list := make([]ipc.Conflict, 0, len(found))
	for _, f := range found {
		list = append(list, told(f))
		d.o.Log.Warn("in the way", "what", f.Text, "means", f.Means, "do", f.Do)
	}
	d.do(func() { d.conflicts = list })
}

func told(f doctor.Finding) ipc.Conflict {
	return ipc.Conflict{Key: f.Key, Text: f.Text, Means: f.Means, Do: f.Do, Problem: f.Level == doctor.Problem}
}

// doubts tells of live logins that may be a person's and are not taken on.
func (d *Daemon) doubts() []ipc.Conflict {
	var names []string
	for _, l := range d.left {
		if l.IsDoubtful() {
			names = append(names, conflict.Words(&l))
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []ipc.Conflict{told(conflict.Doubtful(names))}
}

const examinePatience = 30 * time.Second
