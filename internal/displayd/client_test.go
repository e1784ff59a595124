package displayd

import (
	"strings"
	"testing"

	"xexit/internal/display/displaytest"
	"xexit/internal/session"
)

// A display through all three processes, to its end.
func TestLife(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	r := runClient(t, Options{})
	r.watch("4", here(srv.Display()))
	e, n := r.await("4", Opened, 0)
	if !strings.HasPrefix(e.Resume, byToken) {
		t.Errorf("%+v", e)
	}
	r.watch("4", here("another")) // it is being watched
	srv.PullCable()
	e, n = r.await("4", Ended, n)
	if e.Reason != session.ReasonServerGone || e.Noticed == "" {
		t.Errorf("%+v", e)
	}
	next := fake(t, displaytest.Options{})
	r.watch("4", here(next.Display()))
	_, n = r.await("4", Opened, n)
	next.SetRootProperty("LTSP_XEXIT", "EXIT") // nobody sends the daemon away
	next.SetRootProperty("LTSP_XEXIT", "DIE")
	if e, _ := r.await("4", Ended, n); e.Reason != session.ReasonRequested {
		t.Errorf("%+v", e)
	}
	r.Drop("4")
}
