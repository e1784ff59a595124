package system

import (
	"fmt"
	"os"
	"testing"
	"time"

	"xexit/tests/machine"
)

// steps are the stations of an end at which the daemon is killed.
func steps() []string {
	return []string{
		"claim", "begin", "leader", "user-hooks", "root-hooks", "freeze", "keep", "thaw",
		"term", "grace", "kill", "sweep", "manager", "verified", "done",
	}
}

// deaf ignores what is polite.
func deaf() Leftover {
	return Leftover{Name: "ignores TERM", Script: "setsid $P $N termignorer &", Beside: Gone, Last: Gone, Inside: true}
}

// some leftovers, for runs that are about something else.
func some() []Leftover {
	all := Leftovers()
	return []Leftover{all[0], all[6], all[7], deaf()}
}

// killedAtEachStep: a daemon that dies at any named step of an end, and is
// started again by systemd, has ended everything; once begun, once done.
func killedAtEachStep(t *testing.T, image, stage string) {
	h := host(t, image, stage)
	beside, err := h.stay("alice", some())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps() {
		if err := h.restart("XEXIT_FAULT=" + step); err != nil {
			t.Fatal(err)
		}
		t.Run(step, func(t *testing.T) {
			h.dies(t, beside, func() error { return h.m.WaitFile("/run/xexit/fault." + step) })
		})
	}
}

// killedAnywhere: the same at moments that nobody has chosen.
func killedAnywhere(t *testing.T, stage string) {
	h := host(t, machine.Debian12, stage)
	if err := h.restart(""); err != nil {
		t.Fatal(err)
	}
	beside, err := h.stay("alice", some())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			h.dies(t, beside, func() error {
				moment := time.NewTimer(time.Duration(i) * 60 * time.Millisecond)
				defer moment.Stop()
				<-moment.C
				return h.kill()
			})
		})
	}
}

// dies has a login end while the daemon dies, and looks whether all is as if it
// had not.
func (h *Host) dies(t *testing.T, beside *Stay, die func() error) {
	t.Helper()
	l, err := h.Open(Kinds()[0], "alice")
	if err != nil {
		t.Fatal(err)
	}
	lefts, err := h.leave(l, some())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.end(Logout); err != nil {
		t.Fatal(err)
	}
	if err := die(); err != nil {
		t.Fatalf("the daemon did not die: %v", err)
	}
	done, err := h.recorded(l.ID)
	if err != nil {
		t.Fatalf("%v\n%s", err, h.journal())
	}
	for _, one := range lefts {
		if !one.ref.Gone(machine.Guard) {
			t.Errorf("%s lives", one.Name)
		}
	}
	if !done.Verified {
		t.Errorf("not verified: %+v", done)
	}
	// The state goes last.
	if err := machine.Until("nothing is left of the end", func() (bool, error) {
		_, err := os.Lstat(h.m.Path("/run/xexit/sessions/" + l.ID + ".json"))
		return os.IsNotExist(err), nil
	}); err != nil {
		t.Error(err)
	}
	all, err := h.records()
	if err != nil {
		t.Fatal(err)
	}
	if b, d := len(of(all, l.ID, "begin")), len(of(all, l.ID, "done")); b != 1 || d != 1 {
		t.Errorf("%d begun and %d done are on record, not one of each", b, d)
	}
	if hurt := beside.hurt(); len(hurt) > 0 {
		t.Errorf("hurt: %q", hurt)
	}
	if err := h.clear(l, lefts); err != nil {
		t.Error(err)
	}
}
