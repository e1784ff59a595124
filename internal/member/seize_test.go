package member

import (
	"maps"
	"slices"
	"testing"

	"xexit/internal/proc"
	"xexit/internal/proc/proctest"
	"xexit/internal/session"
)

// targetBelow is a session that has a subreaper, and so nobody above or beside it.
func targetBelow(t *testing.T, fs *proc.FS, reaper int) Target {
	t.Helper()
	target := Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID(), ByDescentOnly: true}}
	target.Entry.Subreaper = procID(t, fs, reaper)
	target.Bound.Subreaper = target.Entry.Subreaper
	return target
}

// Whoever very likely is a member is told of as soon as it is seen, and let go
// if something that is read later speaks for another session.
func TestSeize(t *testing.T) {
	fs := openProc(t)
	tree := proctest.Start(t, proctest.Spec{Name: "reaper", UID: spawnUID(), Subreaper: true, Below: []proctest.Spec{
		{Name: "old"},
		{Name: "parent", Below: []proctest.Spec{{Name: "child"}, {Name: "orphan", Orphan: true}, {Name: "nested", Env: []string{session.MarkerName + "=" + string(sessionB)}}}},
	}}, proctest.Spec{Name: "outsider", UID: spawnUID()})
	target := targetBelow(t, fs, tree.PID("reaper"))
	f := newFinder(t, fs, target)

	var seized, released []int
	hunt := func() {
		f.SeizeBy(func(ref *proc.Ref, _ int) (one, group bool) {
			seized = append(seized, ref.ID().PID)
			return true, false
		},
			func(ref *proc.Ref) { released = append(released, ref.ID().PID) }, false)
	}
	// Nothing is known in the first pass: who is found to belong is told of then.
	hunt()
	fullPass(t, f)
	if !slices.Contains(seized, tree.PID("old")) || slices.Contains(seized, tree.PID("nested")) || len(released) > 0 {
		t.Errorf("first pass: %v seized, %v released", seized, released)
	}
	// Everybody but one is forgotten, as if born since.
	for pid := range f.records.all() {
		if pid != tree.PID("old") && pid != tree.PID("reaper") {
			f.records.set(pid, nil)
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
	f.SeizeBy(nil, nil, false)
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
	target := targetBelow(t, fs, tree.PID("reaper"))
	f := newFinder(t, fs, target)
	fullPass(t, f)
	for _, name := range []string{"new", "loose"} {
		f.records.set(tree.PID(name), nil) // as if born since
	}
	packs, released := map[int]int{}, []int{}
	f.SeizeBy(func(ref *proc.Ref, pgid int) (one, group bool) {
		packs[ref.ID().PID] = pgid
		return true, pgid != 0
	}, func(ref *proc.Ref) { released = append(released, ref.ID().PID) }, false)
	fullPass(t, f)
	want := map[int]int{tree.PID("new"): tree.PID("leader"), tree.PID("loose"): 0}
	if !maps.Equal(packs, want) {
		t.Errorf("seized %v, must be %v", packs, want)
	}
	if !slices.Equal(released, []int{tree.PID("stranger")}) {
		t.Errorf("released %v, must be the stranger %d", released, tree.PID("stranger"))
	}
}

// Who is short of the processor sounds those that it sees: one that carries the
// session's own marker is told of with its process group, and nobody else. Not in
// a Unix session of the session's own processes, nor as long as there is time.
func TestSeizeWhenStarved(t *testing.T) {
	fs := openProc(t)
	own, foreign := []string{session.MarkerName + "=" + string(sessionA)}, []string{session.MarkerName + "=" + string(sessionB)}
	tree := proctest.Start(t,
		proctest.Spec{Name: "ours", UID: spawnUID(), Setsid: true, Env: own, Below: []proctest.Spec{{Name: "child", Env: own}}},
		proctest.Spec{Name: "leader", UID: spawnUID(), Setsid: true, Env: own, Below: []proctest.Spec{{Name: "beside-leader", Env: own}}},
		proctest.Spec{Name: "theirs", UID: spawnUID(), Setsid: true, Env: foreign},
		proctest.Spec{Name: "nobody's", UID: spawnUID(), Setsid: true})
	for _, short := range []bool{true, false} {
		target := Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}}
		target.Entry.Leader = procID(t, fs, tree.PID("leader"))
		f := newFinder(t, fs, target)
		f.short = func(*hunt) bool { return short }
		packs, released := map[int]int{}, []int{}
		f.SeizeBy(func(ref *proc.Ref, pgid int) (one, group bool) {
			packs[ref.ID().PID] = pgid
			return true, pgid != 0
		}, func(ref *proc.Ref) { released = append(released, ref.ID().PID) }, true)
		fullPass(t, f)
		seized := slices.Collect(maps.Keys(packs))
		if !short {
			if len(seized) > 0 {
				t.Errorf("there was time, and %v were seized", packs)
			}
			continue
		}
		first := tree.PID("ours")
		if len(seized) == 1 && seized[0] == tree.PID("child") { // who is listed first
			first = tree.PID("child")
		}
		if want := map[int]int{first: tree.PID("ours")}; !maps.Equal(packs, want) || len(released) > 0 {
			t.Errorf("seized %v, must be %v; released %v", packs, want, released)
		}
	}
}

// A large process group of members is told of before anybody is looked at.
func TestSeizeKnownPack(t *testing.T) {
	fs := openProc(t)
	many := make([]proctest.Spec, manyInGroup)
	for i := range many {
		many[i] = proctest.Spec{Name: "many-" + string(rune('A'+i))}
	}
	tree := proctest.Start(t, proctest.Spec{Name: "reaper", UID: spawnUID(), Subreaper: true, Below: []proctest.Spec{
		{Name: "crowd", Setsid: true, Below: many}, {Name: "couple", Setsid: true, Below: []proctest.Spec{{Name: "half"}}},
	}})
	target := targetBelow(t, fs, tree.PID("reaper"))
	f := newFinder(t, fs, target)
	fullPass(t, f)
	packs := []int{}
	f.SeizeBy(func(_ *proc.Ref, pgid int) (one, group bool) {
		packs = append(packs, pgid)
		return true, true
	}, func(*proc.Ref) {}, false)
	if want := []int{tree.PID("crowd")}; !slices.Equal(packs, want) {
		t.Errorf("told of %v, must be %v", packs, want)
	}
}
