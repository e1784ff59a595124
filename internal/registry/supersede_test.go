package registry_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// A watcher was killed, and its display has a new one under another id.
func TestSupersededByANewWatcher(t *testing.T) {
	gone := session.ProcID{PID: os.Getpid(), Start: 1} // the number lives, the process does not
	for _, c := range []struct {
		name   string
		leader session.ProcID // of the old one
		phase  session.Phase  // of the old one
		ending bool           // somebody has begun to end the old one
		next   registry.Entry
		stays  bool
	}{
		{"leader unknown", session.ProcID{}, session.PhaseWatching, false, registry.Entry{Display: ":91"}, false},
		{"leader gone", gone, session.PhaseWatching, false, registry.Entry{Display: ":91"}, false},
		{"leader there", self(t), session.PhaseWatching, false, registry.Entry{Display: ":91"}, true},
		{"same leader", self(t), session.PhaseWatching, false, registry.Entry{Display: ":91", Leader: self(t)}, false},
		{"other display", session.ProcID{}, session.PhaseWatching, false, registry.Entry{Display: ":92"}, true},
		{"no display", session.ProcID{}, session.PhaseWatching, false, registry.Entry{}, true},
		{"a session within", session.ProcID{}, session.PhaseWatching, false, registry.Entry{Display: ":91", Subreaper: self(t)}, true},
		{"an end begins", session.ProcID{}, session.PhaseWatching, true, registry.Entry{Display: ":91"}, true},
		{"while ending", session.ProcID{}, session.PhaseEnding, false, registry.Entry{Display: ":91"}, true},
		{"registered late", session.ProcID{}, session.PhaseWatching, false, registry.Entry{Display: ":91", Phase: session.PhaseEnding}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := open(t, dir)
			kill := heldByChild(t, dir, session.PhaseWatching)
			var watched *registry.WatchedError
			if _, err := r.Register(registry.Entry{ID: idC, Display: ":91"}); !errors.As(err, &watched) {
				t.Fatalf("while its watcher lives: %v", err)
			}
			rewrite(t, dir, func(text string) string {
				if !c.leader.IsZero() {
					text = strings.Replace(text, "start=", fmt.Sprintf("leader=\"%d %d\"\nstart=", c.leader.PID, c.leader.Start), 1)
				}
				return strings.Replace(text, `"watching"`, `"`+string(c.phase)+`"`, 1)
			})
			kill()
			if c.ending {
				release, err := r.BeginEnd(idA)
				if err != nil {
					t.Fatal(err)
				}
				defer release()
			}
			c.next.ID = idB
			register(t, r, c.next)
			if _, err := r.Find(idA); errors.Is(err, registry.ErrNotFound) == c.stays {
				t.Errorf("the old one: %v; stays should be %v", err, c.stays)
			}
			if l, err := r.Find(idB); err != nil || !l.Live {
				t.Errorf("the new one: %+v, %v", l, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, string(idA)+"*")); !c.stays && len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
