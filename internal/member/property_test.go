package member

import (
	"os"
	"strconv"
	"testing"
)

// forests is how many the property is checked on; XEXIT_FORESTS asks for more.
func forests(t *testing.T, usual int) uint64 {
	t.Helper()
	text := os.Getenv("XEXIT_FORESTS")
	if text == "" {
		return uint64(usual)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("XEXIT_FORESTS: %v", err)
	}
	return n
}

// verdict is the first wrong end in a forest, with the given vetoes.
func verdict(c *classifier, f *forest) (pid int, wrong string, ends int) {
	c.begin(&f.target, &f.snap)
	c.add(0)
	for i, p := range f.snap.Processes {
		r := &c.rulings[i]
		if !r.member() {
			continue
		}
		ends++
		if w := f.wrong(c.finding(p, r, "")); w != "" && wrong == "" {
			pid, wrong = p.ID.PID, w
		}
	}
	return pid, wrong, ends
}

// TestNothingElseIsEnded: whatever evidence is lost or forged, no process of
// another live session, of another user, of xexit, or outside the bound is
// ever a member.
func TestNothingElseIsEnded(t *testing.T) {
	c := newClassifier(vetoes())
	ends, own := 0, 0
	for seed := range forests(t, 4000) {
		f := newForest(seed)
		pid, wrong, n := verdict(c, f)
		ends += n
		for _, p := range f.trees {
			if p.truth == 0 && p.kind == ordinary {
				own++
			}
		}
		if wrong != "" {
			i := c.at(pid)
			p := f.snap.Processes[i]
			t.Fatalf("seed %d: %d %s, but is a member: %v (%v)\n%+v\ntruth %+v\ntarget %+v\nlogins %+v",
				seed, pid, wrong, c.rulings[i].why, c.rulings[i].evidence, *p, f.byPID[pid], f.target, f.snap.Logins)
		}
	}
	// A rule that ends nobody would pass, too.
	if ends*2 < own {
		t.Errorf("%d processes of the sessions that ended, only %d members", own, ends)
	}
	t.Logf("%d members; the sessions had %d processes", ends, own)
}

// TestEveryVetoIsNeeded: without any one of them something is ended that
// should live.
func TestEveryVetoIsNeeded(t *testing.T) {
	const atMost = 40000
	for i, v := range vetoes() {
		t.Run(v.name, func(t *testing.T) {
			without := append(vetoes()[:i:i], vetoes()[i+1:]...)
			c := newClassifier(without)
			for seed := range uint64(atMost) {
				if _, wrong, _ := verdict(c, newForest(seed)); wrong != "" {
					return
				}
			}
			t.Errorf("%d forests, and nobody was ended wrongly without it", atMost)
		})
	}
}
