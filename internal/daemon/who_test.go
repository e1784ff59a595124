package daemon

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xexit/internal/ipc"
	"xexit/internal/login"
	"xexit/internal/session"
)

// looks is how often the process that looks was started for a login.
func (b *bench) looks(id string) int {
	return bytes.Count(mustRead(filepath.Join(b.dir, "looks."+id)), []byte("\n"))
}

func (b *bench) fifo(name string) {
	b.t.Helper()
	if err := syscall.Mkfifo(filepath.Join(b.dir, name), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// let lets those go on who wait for a FIFO.
func (b *bench) let(name string) {
	b.t.Helper()
	f, err := os.OpenFile(filepath.Join(b.dir, name), os.O_WRONLY, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = f.Close()
}

func (b *bench) shown(d *Daemon, q ipc.LoginQuery) map[string]ipc.Login {
	b.t.Helper()
	list, err := handler{d}.Logins(b.t.Context(), q)
	if err != nil {
		b.t.Fatal(err)
	}
	all := map[string]ipc.Login{}
	for _, l := range list {
		all[l.ID] = l
	}
	return all
}

// TestWho: of a login whose end is under way it is said where that is, and who
// is there; of one that is open, and where nobody asks, nobody is looked for.
func TestWho(t *testing.T) {
	b := newBench(t)
	b.fifo("go")
	d := b.run()
	b.open("5", "alice")
	b.end(b.open("4", "waits"))
	b.until("the end has begun", func() bool {
		return len(b.asked("4")) == 1 && b.shown(d, ipc.LoginQuery{All: true})["4"].Step == "begin"
	})
	if l := b.shown(d, ipc.LoginQuery{All: true})["4"]; l.Looked || b.looks("4") > 0 {
		t.Errorf("looked for nobody who asks: %+v", l)
	}
	all := b.shown(d, ipc.LoginQuery{All: true, Who: true})
	l := all["4"]
	if l.Phase != ipc.PhaseEnding || l.At != string(session.StepLeader) || l.Left <= 0 || time.Duration(l.Left) > d.config.PAMClose {
		t.Errorf("%+v", l)
	}
	if !l.Looked || len(l.Processes) != 1 || l.Processes[0].Comm != "waits" || len(l.Undecided) != 1 || l.Omitted != 2 {
		t.Errorf("%+v", l)
	}
	if l := all["5"]; l.Looked || l.Unseen != "" || b.looks("5") > 0 {
		t.Errorf("an open login: %+v", l)
	}
	b.let("go")
	b.awaitPhase("4", login.Done)
	// Who is left of it is of interest for as long as it is known.
	if l := b.shown(d, ipc.LoginQuery{All: true, Who: true})["4"]; l.Phase != ipc.PhaseDone || l.At != "" || !l.Looked {
		t.Errorf("%+v", l)
	}
}

// TestWhoShared: as many as like may ask at once: one look is for all of them.
func TestWhoShared(t *testing.T) {
	b := newBench(t)
	b.fifo("look.4")
	d := b.run()
	b.end(b.open("4", "alice"))
	b.awaitPhase("4", login.Done)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			list, err := handler{d}.Logins(t.Context(), ipc.LoginQuery{UID: ordinary(), Who: true})
			if err != nil || len(list) != 1 || !list[0].Looked {
				t.Errorf("%+v, %v", list, err)
			}
		})
	}
	b.until("somebody looks", func() bool { return b.looks("4") == 1 })
	b.let("look.4")
	all.Wait()
	// Those who asked before it was over have shared it; who came later may
	// have had to wait for a second one, which has the FIFO's other end.
	if n := b.looks("4"); n != 1 {
		t.Errorf("%d looks", n)
	}
}

// TestWhoUnseen: a look that fails, or takes too long, hides no login.
func TestWhoUnseen(t *testing.T) {
	b := newBench(t)
	b.fifo("look.5")
	d, err := open(b.o)
	if err != nil {
		t.Fatal(err)
	}
	d.lookouts.patience = 2 * time.Second
	b.start(d)
	b.end(b.open("4", "blind"))
	b.awaitPhase("4", login.Done)
	if l := b.shown(d, ipc.LoginQuery{All: true, Who: true})["4"]; l.Looked || !strings.Contains(l.Unseen, "of another's") {
		t.Errorf("root: %+v", l)
	}
	if l := b.shown(d, ipc.LoginQuery{UID: ordinary(), Who: true})["4"]; ordinary() != 0 && (l.Looked || l.Unseen != ipc.ErrFailed.Error()) {
		t.Errorf("its user: %+v", l)
	}
	b.end(b.open("5", "alice"))
	b.awaitPhase("5", login.Done)
	if l := b.shown(d, ipc.LoginQuery{UID: ordinary(), Who: true})["5"]; l.Looked || l.Unseen != errSlow.Error() {
		t.Errorf("a look that hangs: %+v", l)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if list, err := (handler{d}).Logins(ctx, ipc.LoginQuery{UID: ordinary(), Who: true}); err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}
