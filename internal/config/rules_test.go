package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/policy"
	"xexit/internal/session"
)

const elf = "\x7fELF not really"

// tree makes files below a directory that counts as safe: "path mode" and the
// content; "path -> target" makes a link, "path/ mode" a directory.
func tree(t *testing.T, files map[string]string) (root string, m machine) {
	t.Helper()
	root = t.TempDir()
	must(t, os.Chmod(root, 0o755))
	for _, spec := range names(files) {
		name, rest, _ := strings.Cut(spec, " ")
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, ok := strings.CutPrefix(rest, "-> "); ok {
			must(t, os.Symlink(strings.ReplaceAll(target, "ROOT", root), path))
			continue
		}
		mode := map[string]os.FileMode{"x": 0o755, "": 0o644, "world": 0o757, "group": 0o775}[rest]
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o755))
		} else {
			must(t, os.WriteFile(path, []byte(strings.ReplaceAll(files[spec], "ROOT", root)), 0o644))
		}
		must(t, os.Chmod(path, mode))
	}
	groups := map[string]uint32{"researchers": 500, "staff": 501}
	users := map[string]uint32{"alice": 1000, "bob": 1001}
	lookup := func(ids map[string]uint32) func(string) (uint32, error) {
		return func(name string) (uint32, error) {
			if name == "broken" {
				return 0, errors.New("no route to host")
			}
			if id, ok := ids[name]; ok {
				return id, nil
			}
			return 0, errNobody
		}
	}
	return root, machine{
		owner: uint32(os.Getuid()), above: root, user: lookup(users), group: lookup(groups),
		groups: func(uint32) ([]uint32, error) { return []uint32{1000, 500}, nil },
	}
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	root, m := tree(t, map[string]string{
		"opt/sim/bin/run x":                       elf,
		"opt/sim/bin/run-2 x":                     elf,
		"opt/sim/lib/deep/run x":                  elf,
		"opt/sim/bin/data":                        elf,
		"opt/sim/bin/wrapper x":                   "#!/bin/sh\nexec ROOT/opt/sim/bin/run \"$@\"\n",
		"opt/sim/bin/sym -> ../../hot/prog":       "",
		"opt/hot/prog x":                          elf,
		"opt/open/ world":                         "",
		"opt/open/prog x":                         elf,
		"opt/team/ group":                         "",
		"opt/team/prog x":                         elf,
		"opt/bad x":                               elf,
		"opt/writable world":                      elf,
		"usr/alternative -> ROOT/etc/alternative": "",
		"etc/alternative -> ../opt/hot/prog":      "",
		"usr/detour -> ROOT/opt/open/back":        "",
		"opt/open/back -> ROOT/opt/hot/prog":      "",
		"usr/up -> ../opt/open/../hot/prog":       "",
		"usr/loop -> loop":                        "",
		"usr/dangling -> nowhere":                 "",
		"usr/R x": `#!/bin/sh
# a wrapper in the manner of R's
R_HOME_DIR=ROOT/nonexistent
if [ -d /x ]; then R_HOME_DIR=ROOT/opt; fi
R_HOME="${R_HOME_DIR}"
export R_HOME
args=
debugger=
R_binary="${R_HOME}/hot${R_ARCH}/prog"
case "$1" in
  --help) exec cat "${R_HOME}/help" ;;
esac
exec ${debugger} ${debugger_args} "${R_binary}" ${args} "${@}"
`,
		"usr/twice x":   "#! /bin/sh\ntest -n \"$X\" && exec -a name ROOT/usr/R; exit 1\n",
		"usr/shell x":   elf,
		"usr/again x":   "#!ROOT/usr/shell -e\nexec ROOT/usr/shell $0 \"$@\"\n",
		"usr/python x":  "#!/usr/bin/env -S python3 -u\nimport os\n",
		"usr/nothing x": "#!\n",
		"usr/round x":   "#!/bin/sh\nexec ROOT/usr/round\n",
	})
	must(t, os.Chmod(filepath.Join(root, "opt/bad"), 0o6757))
	const others = " others can write to it (mode 0757); chmod go-w ROOT/opt/open"
	for _, c := range []struct {
		pattern string
		files   string
		wrong   string
	}{
		{"/opt/sim/bin/run", "/opt/sim/bin/run", ""},
		{"/opt/sim/**", "/opt/sim/bin/run /opt/sim/bin/run-2 /opt/sim/lib/deep/run", ""},
		{"/opt/sim/*/run", "/opt/sim/bin/run", ""},
		{"/opt/sim/**/run", "/opt/sim/bin/run /opt/sim/lib/deep/run", ""},
		{"/opt/*/bin/run*", "/opt/sim/bin/run /opt/sim/bin/run-2", "ROOT/opt/open" + others + "\nROOT/opt/team others can write to it (mode 0775); chmod go-w ROOT/opt/team"},
		{"/usr/alternative", "/opt/hot/prog", ""},
		{"/opt/sim/bin/sym", "/opt/hot/prog", ""},
		{"/opt/sim/bin/s*", "", "ROOT/opt/sim/bin/s* matches no executable; correct the pattern, or install the programs"},
		{"/opt/absent", "", "ROOT/opt/absent does not exist here; correct the path, or install the program"},
		{"/absent/**", "", "ROOT/absent does not exist here; correct the path, or install the program"},
		{"/usr/dangling", "", "ROOT/usr/dangling does not exist here; correct the path, or install the program"},
		{"/usr/loop", "", "ROOT/usr/loop cannot be looked at: too many levels of symbolic links"},
		{"/opt/sim/bin/run/x", "", "ROOT/opt/sim/bin/run/x cannot be looked at: not a directory"},
		{"/opt/sim", "", `ROOT/opt/sim is a directory; for all programs below it write "ROOT/opt/sim/**"`},
		{"/opt/sim/bin/run/*", "", "ROOT/opt/sim/bin/run is no directory; name a directory before the first *"},
		{"/opt/sim/bin/data", "", "ROOT/opt/sim/bin/data is not executable; name the program's executable"},
		{"/opt/writable", "", "ROOT/opt/writable others can write to it (mode 0757); chmod go-w ROOT/opt/writable"},
		{"/opt/open/prog", "", "ROOT/opt/open/prog its directory ROOT/opt/open" + others},
		{"/opt/open/*", "", "ROOT/opt/open" + others},
		{"/opt/team/prog", "", "ROOT/opt/team/prog its directory ROOT/opt/team others can write to it (mode 0775); chmod go-w ROOT/opt/team"},
		{"/usr/detour", "", "ROOT/usr/detour its directory ROOT/opt/open" + others},
		{"/usr/up", "", "ROOT/usr/up its directory ROOT/opt/open" + others},
		{"/opt/*/prog", "/opt/hot/prog", "ROOT/opt/open" + others + "\nROOT/opt/team others can write to it (mode 0775); chmod go-w ROOT/opt/team"},
		{"/opt/sim/bin/wrapper", "", `ROOT/opt/sim/bin/wrapper is a script that /bin/sh runs, so no process has it as its executable; write "ROOT/opt/sim/bin/run", which it starts`},
		{"/usr/R", "", `ROOT/usr/R is a script that /bin/sh runs, so no process has it as its executable; write "ROOT/opt/hot/prog", which it starts`},
		{"/usr/twice", "", `ROOT/usr/twice is a script that /bin/sh runs, so no process has it as its executable; write "ROOT/opt/hot/prog", which it starts`},
		{"/usr/again", "", "ROOT/usr/again is a script that ROOT/usr/shell runs, so no process has it as its executable; name the executable that it starts; ROOT/usr/shell itself would keep everything that it runs"},
		{"/usr/python", "", "ROOT/usr/python is a script that python3 runs, so no process has it as its executable; name the executable that it starts; python3 itself would keep everything that it runs"},
		{"/usr/nothing", "", "ROOT/usr/nothing is a script that an unnamed program runs, so no process has it as its executable; name the executable that it starts; an unnamed program itself would keep everything that it runs"},
		{"/usr/round", "", "ROOT/usr/round is a script that /bin/sh runs, so no process has it as its executable; name the executable that it starts; /bin/sh itself would keep everything that it runs"},
	} {
		t.Run(c.pattern, func(t *testing.T) {
			t.Parallel()
			k := Keep{Name: "k", Programs: []string{root + c.pattern}}
			files, warnings := k.files(m)
			var got, wrong []string
			for _, f := range files {
				got = append(got, strings.TrimPrefix(f.path, root))
				info, err := os.Stat(f.path)
				must(t, err)
				if stat := info.Sys().(*syscall.Stat_t); stat.Ino != f.ino || uint64(stat.Dev) != f.dev {
					t.Errorf("%s is not the file %+v", f.path, f)
				}
			}
			slices.Sort(got)
			for _, w := range warnings {
				wrong = append(wrong, strings.TrimPrefix(strings.ReplaceAll(w.String(), root, "ROOT"), `: keep "k": `))
			}
			if strings.Join(got, " ") != c.files || strings.Join(wrong, "\n") != c.wrong {
				t.Errorf("files %v, want %v\nwarnings %s\nwant     %s", got, c.files, strings.Join(wrong, "\n"), c.wrong)
			}
		})
	}
}

func TestOwnerMatters(t *testing.T) {
	t.Parallel()
	root, m := tree(t, map[string]string{"opt/prog x": elf, "opt/theirs/prog x": elf})
	m.owner++
	files, warnings := Keep{Programs: []string{root + "/opt/prog"}}.files(m)
	if len(files) != 0 || len(warnings) != 1 || !strings.Contains(warnings[0].String(), "its owner could put anything there") {
		t.Errorf("files %v, warnings %v", files, warnings)
	}
}

func TestManyFilesAreBounded(t *testing.T) {
	t.Parallel()
	f := &finding{machine: machine{owner: uint32(os.Getuid())}, seen: maxEntries}
	root, _ := tree(t, map[string]string{"a x": elf})
	f.walk(root, []string{"**"})
	if !f.full || len(f.files) != 0 {
		t.Errorf("full %v, files %v", f.full, f.files)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	root, m := tree(t, map[string]string{"opt/a x": elf, "opt/b x": elf})
	a, b := []string{root + "/opt/a"}, []string{root + "/opt/a", root + "/opt/*"}
	c := Config{Keep: []Keep{
		{Name: "all", Programs: b, After: []session.Reason{session.ReasonLogout}},
		{Name: "group", Users: []string{"@researchers"}, Programs: a},
		{Name: "other group", Users: []string{"@staff"}, Programs: a},
		{Name: "bob", Users: []string{"bob"}, Programs: a},
		{Name: "bob or alice", Users: []string{"bob", "alice"}, Programs: a, Limits: Limits{For: time.Hour, CPU: 100, Count: 1, Memory: 1, Tasks: 1}},
		{Name: "nobody", Users: []string{"@ghosts", "ghost"}, Programs: a},
		{Name: "unsure", Users: []string{"@broken"}, Programs: a},
		{Name: "missing", Programs: []string{root + "/opt/none"}},
	}}
	rules, warnings := c.rules(m, 1000)
	var got, wrong []string
	for _, r := range rules {
		got = append(got, r.Name)
	}
	for _, w := range warnings {
		wrong = append(wrong, strings.ReplaceAll(w.String(), root, "ROOT"))
	}
	want := []string{"all", "group", "bob or alice", "unsure"}
	if !slices.Equal(got, want) {
		t.Errorf("rules %q, want %q", got, want)
	}
	if len(rules) > 0 && (len(rules[0].Files) != 2 || rules[0].Files[0] == rules[0].Files[1] || rules[0].Files[0] == (policy.FileID{}) || !slices.Equal(rules[0].After, c.Keep[0].After)) {
		t.Errorf("first rule: %+v", rules[0])
	}
	const warned = `: keep "bob or alice": for, memory, cpu, tasks, count: not enforced in user mode; what the rule keeps is kept without limits
: keep "nobody": group "ghosts" is not known on this machine; correct the name; until then the rule is not for it
: keep "nobody": user "ghost" is not known on this machine; correct the name; until then the rule is not for it
: keep "unsure": group "broken" could not be looked up, so the rule is taken to hold: no route to host
: keep "missing": ROOT/opt/none does not exist here; correct the path, or install the program`
	if strings.Join(wrong, "\n") != warned {
		t.Errorf("warnings\n%s\nwant\n%s", strings.Join(wrong, "\n"), warned)
	}
	if all := c.check(m); len(all) != 5 {
		t.Errorf("check finds %v", all)
	}
}

// TestThisMachine asks the real user database.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	m := thisMachine()
	if uid, err := m.user("root"); err != nil || uid != 0 {
		t.Errorf("root is %d, %v", uid, err)
	}
	if gid, err := m.group("root"); err != nil || gid != 0 {
		t.Errorf("group root is %d, %v", gid, err)
	}
	if uid, err := m.user("54321"); err != nil || uid != 54321 {
		t.Errorf("a number is %d, %v", uid, err)
	}
	if _, err := m.user("no-such-user-here"); !errors.Is(err, errNobody) {
		t.Errorf("no-such-user-here: %v", err)
	}
	if _, err := m.group("no-such-group-here"); !errors.Is(err, errNobody) {
		t.Errorf("no-such-group-here: %v", err)
	}
	for _, uid := range []uint32{uint32(os.Getuid()), 0} {
		if gids, err := m.groups(uid); err != nil || len(gids) == 0 {
			t.Errorf("groups of %d: %v, %v", uid, gids, err)
		}
	}
}
