package member

import (
	"maps"
	"slices"
	"testing"

	"xexit/internal/proc"
	"xexit/internal/proc/proctest"
	"xexit/internal/session"
)

// Whoever very likely is a member is told of as soon as it is seen, and let go
// if something that is read later speaks for another session.
func TestSeize(t *testing.T) {
	fs := openProc(t)
	tree := proctest.Start(t, proctest.Spec{Name: "reaper", UID: spawnUID(), Subreaper: true, Below: []proctest.Spec{
		{Name: "old"},
		{Name: "parent", Below: []proctest.Spec{{Name: "child"}, {Name: "orphan", Orphan: true}, {Name: "nested", Env: []string{session.MarkerName + "=" + string(sessionB)}}}},
	}}, proctest.Spec{Name: "outsider", UID: spawnUID()})
	target := Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID(), ByDescentOnly: true}}
	target.Entry.Subreaper = procID(t, fs, tree.PID("reaper"))
	target.Bound.Subreaper = target.Entry.Subreaper
	f := newFinder(t, fs, target)

	var seized, released []int
	hunt := func() {
		f.SeizeBy(func(ref *proc.Ref, _ int) (one, group bool) {
			seized = append(seized, ref.ID().PID)
			return true, false
		},
			func(ref *proc.Ref) { released = append(released, ref.ID().PID) })
	}
	// Nothing is known in the first pass: who is found to belong is told of then.
	hunt()
	fullPass(t, f)
	if !slices.Contains(seized, tree.PID("old")) || slices.Contains(seized, tree.PID("nested")) || len(released) > 0 {
		t.Errorf("first pass: %v seized, %v released", seized, released)
	}
	// Everybody but one is forgotten, as if born since.
	for pid := range f.records {
		if pid != tree.PID("old") && pid != tree.PID("reaper") {
			delete(f.records, pid)
		}
	}
	seized = nil
	pass := fullPass(t, f)
	for _, name := range []string{"parent", "child", "orphan", "nested"} {
		if !slices.Contains(seized, tree.PID(name)) {
			t.Errorf("%s was not seized: %v", name, seized)
		}
		got, _ := findingOf(pass, tree.PID(name))
		if let := slices.Contains(released, tree.PID(name)); let == got.Member || let != (name == "nested") {
			t.Errorf("%s: released %v, %+v", name, let, got)
		}
	}
	if slices.Contains(seized, tree.PID("outsider")) || slices.Contains(seized, tree.PID("reaper")) {
		t.Errorf("seized %v", seized)
	}
	seized = nil
	f.SeizeBy(nil, nil)
	if fullPass(t, f); len(seized) > 0 {
		t.Errorf("still seizing: %v", seized)
	}
}

// Where all of a Unix session very likely are members, whoever is seized there is
// told with his process group; who was stopped with it and is none goes on. In a
// session that others are in, too, there is no such group.
func TestSeizePack(t *testing.T) {
	fs := openProc(t)
	foreign := []string{session.MarkerName + "=" + string(sessionB)}
	tree := proctest.Start(t, proctest.Spec{Name: "reaper", UID: spawnUID(), Subreaper: true, Below: []proctest.Spec{
		{Name: "loose"},
		{Name: "leader", Setsid: true, Below: []proctest.Spec{{Name: "known"}, {Name: "new"}, {Name: "stranger", Env: foreign}}},
	}}, proctest.Spec{Name: "outsider", UID: spawnUID()})
	target := Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID(), ByDescentOnly: true}}
	target.Entry.Subreaper = procID(t, fs, tree.PID("reaper"))
	target.Bound.Subreaper = target.Entry.Subreaper
	f := newFinder(t, fs, target)
	fullPass(t, f)
	for _, name := range []string{"new", "loose"} {
		delete(f.records, tree.PID(name)) // as if born since
	}
	packs, released := map[int]int{}, []int{}
	f.SeizeBy(func(ref *proc.Ref, pgid int) (one, group bool) {
		packs[ref.ID().PID] = pgid
		return true, pgid != 0
	}, func(ref *proc.Ref) { released = append(released, ref.ID().PID) })
	fullPass(t, f)
	want := map[int]int{tree.PID("new"): tree.PID("leader"), tree.PID("loose"): 0}
	if !maps.Equal(packs, want) {
		t.Errorf("seized %v, must be %v", packs, want)
	}
	if !slices.Equal(released, []int{tree.PID("stranger")}) {
		t.Errorf("released %v, must be the stranger %d", released, tree.PID("stranger"))
	}
}
