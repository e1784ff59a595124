package ending

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"xexit/internal/engine"
)

// TestManyMoreThanDescriptors: where no more than a few hundred descriptors may
// be open, a thousand processes are ended a batch at a time, all of them
// politely.
func TestManyMoreThanDescriptors(t *testing.T) {
	const members = 1000
	h := newLoginHost(t)
	scope := h.scope(loginUID, loginName())
	h.login(h.start("", 0, waits)) // no member
	shell := h.start(scope, loginUID, fmt.Sprintf("i=1; while [ $i -lt %d ]; do sleep 1000 & i=$((i+1)); done; echo; wait", members))

	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = 256
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}()
	r, err := h.End(t.Context(), Request{Session: loginName(), Grace: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != engine.ExitDone || !r.Record.Verified || len(r.Record.Survivors) > 0 || shell.lives() {
		t.Errorf("exit %d, verified %v, survivors %v, problems %v", r.Exit, r.Record.Verified, r.Record.Survivors, r.Problems)
	}
	how := map[string]int{}
	for _, p := range r.Record.Processes {
		how[p.Ended]++
	}
	// One that goes with its parent before it is asked is gone by itself.
	if how["term"]+how["gone"] != members || how["term"] < members/2 {
		t.Errorf("ended: %v of %d, %d undecided; want %d, and politely", how, len(r.Record.Processes), len(r.Record.Undecided), members)
	}
}
