package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/login"
	"xexit/internal/session"
)

// LookVerb is the hidden verb of xexit-main that looks who is in a login, in a
// process of its own: what it looks at is many processes', and whoever asks may
// ask without end. It reads what EndVerb reads.
const LookVerb = "__look-login"

// sighting is what that process says. Its other half is ending.LoginLook.
type sighting struct {
	Processes []history.Process `json:"processes"`
	Undecided []history.Process `json:"undecided"`
	Omitted   int               `json:"omitted"`
}

// lookouts has those who ask share what a look finds. An ordinary user can ask
// as often as he likes for as long as a login of his is over, so a look at a
// login is followed by a rest of some times its length, in which what it found
// is told; and no more than mostLooks go on at once, for root beside all others.
type lookouts struct {
	self     string // xexit-main
	log      *slog.Logger
	patience time.Duration
	slots    map[bool]chan struct{} // of root, of others

	mu    sync.Mutex
	looks map[session.ID]*lookout
}

const (
	mostLooks = 2
	lookRest  = 4 // times what the look took
	// lookPatience bounds one answer: a client waits for it.
	lookPatience = 5 * time.Second
	// mostSaid bounds what is held of a look, in bytes.
	mostSaid = 1 << 20
)

// lookout is one look. What is below done may be read when that is closed.
type lookout struct {
	done  chan struct{}
	saw   sighting
	err   error
	stale time.Time // when to look anew
}

func newLookouts(self string, log *slog.Logger) *lookouts {
	return &lookouts{
		self: self, log: log, patience: lookPatience, looks: make(map[session.ID]*lookout),
		slots: map[bool]chan struct{}{true: make(chan struct{}, mostLooks), false: make(chan struct{}, mostLooks)},
	}
}

// over is a login that is over, and the request that says which it is.
type over struct {
	at   int // in the list that is shown
	id   session.ID
	text []byte
}

// askedOf makes the requests for those of a list that are over.
func (d *Daemon) askedOf(list []ipc.Login) (all []over) {
	for i := range list {
		e := d.book[list[i].ID]
		if e == nil || e.state.Phase == login.Open {
			continue
		}
		text, err := d.requestFor(&e.state)
		if err != nil {
			list[i].Unseen = err.Error()
			continue
		}
		all = append(all, over{i, e.state.Session, text})
	}
	return all
}

// see says of each who is there. It returns when that is known, or has taken
// too long. It may be called from anywhere.
func (l *lookouts) see(ctx context.Context, list []ipc.Login, asked []over, root bool) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	var all sync.WaitGroup
	for _, o := range asked {
		all.Go(func() {
			saw, err := l.look(ctx, o, root)
			shown := &list[o.at]
			if err != nil {
				shown.Unseen = ipc.ErrFailed.Error() // what went wrong may be about others
				if root || errors.Is(err, errSlow) {
					shown.Unseen = err.Error()
				}
				return
			}
			shown.Looked = true
			shown.Processes, shown.Undecided, shown.Omitted = saw.Processes, saw.Undecided, saw.Omitted
		})
	}
	all.Wait()
}

// look has a look at one login, or waits for the one that goes on.
func (l *lookouts) look(ctx context.Context, o over, root bool) (sighting, error) {
	l.mu.Lock()
	for id, k := range l.looks {
		if k.over(time.Now()) {
			delete(l.looks, id)
		}
	}
	k := l.looks[o.id]
	mine := k == nil
	if mine {
		k = &lookout{done: make(chan struct{})}
		l.looks[o.id] = k
	}
	l.mu.Unlock()
	if mine {
		if k.saw, k.err = l.run(ctx, o, root, &k.stale); k.err != nil {
			l.log.Warn("who is in a login that is over is not known", "session", o.id, "error", k.err)
		}
		close(k.done)
	}
	select {
	case <-k.done:
		return k.saw, k.err
	case <-ctx.Done():
		return sighting{}, errSlow
	}
}

func (k *lookout) over(now time.Time) bool {
	select {
	case <-k.done:
		return !now.Before(k.stale)
	default:
		return false
	}
}

var errSlow = errors.New("it takes too long to look; ask again")

// run starts the process that looks, when there is room for one more.
func (l *lookouts) run(ctx context.Context, o over, root bool, stale *time.Time) (saw sighting, err error) {
	select {
	case l.slots[root] <- struct{}{}:
		defer func() { <-l.slots[root] }()
	case <-ctx.Done():
		return saw, errSlow
	}
	began := time.Now()
	defer func() { *stale = time.Now().Add(min(lookRest*time.Since(began), l.patience)) }()
	cmd := exec.CommandContext(ctx, l.self, LookVerb)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.Dir, cmd.Stdin = "/", bytes.NewReader(o.text)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	var out, said bounded
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return saw, errSlow
		}
		return saw, fmt.Errorf("look who is there: %w: %s", err, strings.TrimSpace(said.String()))
	}
	if err := json.Unmarshal(out.Bytes(), &saw); err != nil {
		return sighting{}, fmt.Errorf("look who is there: %w", err)
	}
	return saw, nil
}

// bounded takes what a process says, up to mostSaid.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > mostSaid {
		return 0, io.ErrShortBuffer
	}
	return b.Buffer.Write(p)
}

// at is the step that an end is at, and how long that may take yet; 0: not known.
func (e *entry) at(now time.Duration) (session.Step, time.Duration) {
	order := session.Steps()
	if e.end.audit {
		order = session.AuditSteps()
	}
	at := session.Next(order, e.end.step)
	var limit time.Duration
	switch {
	case at == session.StepGrace:
		limit = e.end.grace
	case at == session.StepLeader && (e.state.Reason == session.ReasonLogout || e.state.Reason == session.ReasonLeaderExit):
		limit = e.end.closing
	}
	return at, max(0, limit-(now-e.end.since))
}
