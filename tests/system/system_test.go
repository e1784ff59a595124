package system

import (
	"slices"
	"testing"

	"xexit/tests/booted"
	"xexit/tests/machine"
)

// staged builds what the containers get.
func staged(t *testing.T, faults bool) string {
	t.Helper()
	return booted.StageBy(t, func(repository, dir string) error { return Stage(repository, dir, faults) }, machine.Debian12, machine.Debian13)
}

// host boots a container with the daemon. What the daemon said is told when
// the test fails.
func host(t *testing.T, image, stage string) *Host {
	t.Helper()
	h, err := NewHost(image, stage, Daemon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.journal())
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// TestSystem boots no more than three containers at once (-parallel 3): the
// kernel counts inotify instances by uid, across all of them.
func TestSystem(t *testing.T) {
	stage := staged(t, false)
	faulty := staged(t, true)
	for name, test := range map[string]func(*testing.T, string){
		"logins/debian-12": func(t *testing.T, stage string) { logins(t, machine.Debian12, stage) },
		"logins/debian-13": func(t *testing.T, stage string) { logins(t, machine.Debian13, stage) },
		"leftovers stay":   leftoversStay,
		"ends do not wait": endsDoNotWait,
		"killed anywhere":  killedAnywhere,
		"security":         security,
		"desktop":          desktop,
		"ssh -X stays":     forwardedStays,
		"PAM stacks":       pamStacks,
		"soak":             soak,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, stage)
		})
	}
	for _, image := range []string{machine.Debian12, machine.Debian13} {
		t.Run("killed at each step/"+imageName(image), func(t *testing.T) {
			t.Parallel()
			killedAtEachStep(t, image, faulty)
		})
	}
}

// logins: every kind of login, left behind full and ended in every way, beside
// another login of its user's that has the same again, and as his last.
func logins(t *testing.T, image, stage string) {
	for _, plan := range Plans([]string{image}, []Ender{Daemon}) {
		plan.Cells = slices.DeleteFunc(plan.Cells, func(c Cell) bool { return !due(&c) })
		err := plan.Do(stage, func(c *Cell) {
			t.Log(c.Line())
			if wrong := c.wrong(Leftovers()); len(wrong) > 0 {
				t.Errorf("%s, %s, his last: %v: %q", c.Kind, c.End, c.Last, wrong)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// due reports whether a cell is in `make test`. Where a login takes long, or its
// link long to be given up, each end comes once beside another login and once as
// the last, on one Debian each; `make system` has all of them on both.
func due(c *Cell) bool {
	kind := kindOf(c.Kind)
	first := slices.Index(kind.Ends, c.End)%2 == 0
	return !kind.halved || (c.Image == machine.Debian12) == (first == c.Last)
}

// soak is a small one of `make soak`.
func soak(t *testing.T, stage string) {
	wrong, err := Soak{Sessions: 40, AtOnce: 10, Displays: 4, Lost: 2, Say: t.Logf}.Run(machine.Debian12, stage)
	if err != nil {
		t.Error(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// leftoversStay: without anybody to end them, all of them outlive a logout.
func leftoversStay(t *testing.T, stage string) {
	h, err := NewHost(machine.Debian12, stage, Nobody)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	out, err := h.Run(Kinds()[0], Logout, "alice", Leftovers(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range Leftovers() {
		if got := out.Fates[l.Name]; got != Lives {
			t.Errorf("%s: %s; so it would prove nothing", l.Name, got)
		}
	}
}
