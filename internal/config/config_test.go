package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"xexit/internal/session"
)

// load writes files (name, text, name, text …) and loads the first of them as
// File and the others as Dir.
func load(t *testing.T, files ...string) (Config, string, error) {
	t.Helper()
	dir := t.TempDir()
	confd := filepath.Join(dir, "conf.d")
	if err := os.Mkdir(confd, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(Paths{File: filepath.Join(dir, files[0]), Dir: confd})
	return c, dir, err
}

func TestAbsentMeansDefaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := Load(Paths{File: filepath.Join(dir, "no.toml"), Dir: filepath.Join(dir, "no.d"), System: true})
	// The test's directory may be below /tmp and not root's: only that may be wrong.
	var wrong *Error
	if errors.As(err, &wrong) && len(wrong.Problems) == 1 && wrong.Problems[0].File == dir {
		c, err = Default(), nil
	}
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := Load(Paths{File: filepath.Join(dir, "no.toml")}); err == nil {
		t.Error("a file that was asked for may not be absent")
	}
	c, _, err = load(t, "x.toml", "# nothing\n")
	c.Sources = nil
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("an empty file: %+v, %v", c, err)
	}
}

func TestEverything(t *testing.T) {
	t.Parallel()
	c, dir, err := load(t, "xexit.toml", `
scope = "user"
grace = "1m500ms"
pam-close = "1m"
markers = ["SITE_SESSION", "SEAT_ID"]
delegated = true
hooks = { dir = "/srv/exit.d/", root-dir = "/srv/root.d", timeout = "1h" }
[log]
syslog = false
[daemon]
types = ["ssh", "tty"]
audit-only = true
other-users = false
exempt = []
[display]
on-lost = "ignore"
reconnect = "90s"
lost-after = "1m"
blind-after = "2m"
hung-after = "1h"
[[keep]]
name = "batch science"
users = ["@researchers", "DOMAIN\\bob"]
programs = ["/usr/lib/R/bin/exec/R", "/opt/sim/**", "/opt/*/bin/run-*"]
for = "2d"
memory = "1.5G"
cpu = "200%"
tasks = 64
count = 4
after = ["logout", "link-lost"]
`)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "xexit.toml")
	want := Config{
		Scope: session.ScopeUser, Grace: time.Minute + 500*time.Millisecond, PAMClose: time.Minute,
		Markers: []string{"SITE_SESSION", "SEAT_ID"}, Delegated: true,
		Hooks: Hooks{Dir: "/srv/exit.d", RootDir: "/srv/root.d", Timeout: time.Hour, Output: 64 << 10, Shield: true},
		Log:   Log{Syslog: false, File: true},

		Daemon: Daemon{Types: []string{"ssh", "tty"}, AuditOnly: true},
		Display: Display{
			OnLost: LostIgnore, Reconnect: 90 * time.Second,
			LostAfter: time.Minute, BlindAfter: 2 * time.Minute, HungAfter: time.Hour,
		},
		Keep: []Keep{{
			Name: "batch science", Users: []string{"@researchers", `DOMAIN\bob`},
			Programs: []string{"/usr/lib/R/bin/exec/R", "/opt/sim/**", "/opt/*/bin/run-*"},
			After:    []session.Reason{session.ReasonLogout, session.ReasonLinkLost},
			Limits:   Limits{For: 48 * time.Hour, Memory: 3 << 29, CPU: 200, Tasks: 64, Count: 4},
			From:     Position{file, 21, 3},
		}},
		Sources: []string{file},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

func TestLaterFilesOverrideAndAdd(t *testing.T) {
	t.Parallel()
	rule := func(name string) string { return "[[keep]]\nname = '" + name + "'\nprograms = ['/opt/x']\n" }
	c, dir, err := load(t,
		"xexit.toml", "grace = '1s'\nscope = 'user'\nmarkers = ['A']\n"+rule("main"),
		"conf.d/20-b.toml", "grace = '3s'\n"+rule("b"),
		"conf.d/10-a.toml", "grace = '2s'\nmarkers = ['B']\n"+rule("a"),
		"conf.d/30.toml~", "broken", "conf.d/.hidden.toml", "broken", "conf.d/40.toml.dpkg-dist", "broken",
		"conf.d/50.conf", "broken")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range c.Keep {
		names = append(names, k.Name)
	}
	if c.Grace != 3*time.Second || c.Scope != session.ScopeUser || strings.Join(c.Markers, " ") != "B" || strings.Join(names, " ") != "main a b" {
		t.Errorf("got %+v", c)
	}
	want := filepath.Join(dir, "conf.d/50.conf") + ": not read; only files whose names end in .toml are; rename or remove it"
	if len(c.Sources) != 3 || len(c.Warnings) != 1 || c.Warnings[0].String() != want {
		t.Errorf("sources %v, warnings %v", c.Sources, c.Warnings)
	}
}

func TestAllProblemsOfAllFilesAtOnce(t *testing.T) {
	t.Parallel()
	_, dir, err := load(t,
		"xexit.toml", "graec = '1s'\ngrace = 3s\n[[keep]]\nname = 'a'\nprograms = ['/opt/x']\n",
		"conf.d/1.toml", "[hooks]\ntimeout = 30\n",
		"conf.d/2.toml", "[[keep]]\nname = 'a'\nprograms = ['x']\n")
	want := `xexit.toml:1:1: graec: unknown key; did you mean grace?
xexit.toml:2:10: grace: strings must be quoted; texts are written in quotes: grace = "3s"
conf.d/1.toml:2:11: hooks.timeout: is an integer, expected a string; write timeout = "30s"
conf.d/2.toml:2:8: keep.name: "a" is the name of the rule at xexit.toml:4:8 too; give each rule a name of its own: reports tell them apart by it
conf.d/2.toml:3:13: keep.programs: "x" is a base name, which anybody can give to a copy of anything; write the absolute path of the executable`
	if err == nil || strings.ReplaceAll(err.Error(), dir+"/", "") != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestFilesOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, file string)
		system  bool
		want    string
	}{
		{"group may write", func(t *testing.T, file string) { chmod(t, file, 0o664) }, false, "FILE: others can write to it (mode 0664); chmod go-w FILE"},
		{"world may write", func(t *testing.T, file string) { chmod(t, file, 0o646) }, false, "FILE: others can write to it (mode 0646); chmod go-w FILE"},
		{"a directory", func(t *testing.T, file string) { must(t, os.Remove(file), os.Mkdir(file, 0o755)) }, false, "FILE: not a regular file; give the path of a file"},
		{"a device", func(t *testing.T, file string) { must(t, os.Remove(file), os.Symlink("/dev/null", file)) }, false, "FILE: not a regular file; give the path of a file"},
		{"absent", func(t *testing.T, file string) { must(t, os.Remove(file)) }, false, "FILE: no such file; check the path"},
		{"endless", func(t *testing.T, file string) { must(t, os.Truncate(file, maxFile+1)) }, false, "FILE: longer than 1048576 bytes; is this a configuration file?"},
		{"somebody's", func(t *testing.T, file string) { chown(t, file) }, false, "FILE: belongs to uid 4242, neither to you nor to root; use a copy of your own"},
		{"system, somebody's", func(t *testing.T, file string) { chown(t, file) }, true, "FILE: belongs to uid 4242 and not to root; chown root FILE"},
		{"system, open directory", func(t *testing.T, file string) { chmod(t, filepath.Dir(file), 0o777) }, true, "DIR: others can write to it (mode 0777); chmod go-w DIR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "x.toml")
			must(t, os.WriteFile(file, []byte("grace = '1s'\n"), 0o644))
			c.prepare(t, file)
			_, err := Load(Paths{File: file, System: c.system})
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.NewReplacer(file, "FILE", filepath.Dir(file), "DIR").Replace(err.Error())
			if !strings.Contains(got, c.want) || !c.system && got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestOwnFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.toml")
	must(t, os.WriteFile(file, nil, 0o644))
	chown(t, file)
	info, err := os.Stat(file)
	must(t, err)
	if err := ownedAndClosed(file, info, false, 4242); err != nil {
		t.Errorf("a file of the caller's own: %v", err)
	}
	if ownedAndClosed(file, info, false, 4243) == nil || ownedAndClosed(file, info, true, 4242) == nil {
		t.Error("accepted a file that is neither the caller's nor root's, or the caller's as the system's")
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// chmod is independent of the umask.
func chmod(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	must(t, os.Chmod(name, mode))
}

// chown gives a file away, which takes root.
func chown(t *testing.T, name string) {
	t.Helper()
	if err := os.Chown(name, 4242, -1); err != nil {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	d := &decoder{}
	d.problemWith("/x.toml", &os.PathError{Op: "open", Path: "/x.toml", Err: os.ErrPermission})
	d.problemWith("/x.toml", &os.PathError{Op: "read", Path: "/x.toml", Err: errors.New("input/output error")})
	got := (&Error{d.problems}).Error()
	if want := "/x.toml: cannot be read: permission denied; chmod a+r /x.toml\n/x.toml: cannot be read: input/output error"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestExample holds the documentation to the truth: every key is in the
// example and in the manual, and what the example shows as default is it.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../share/xexit.toml")
	must(t, err)
	manual, err := os.ReadFile("../../man/xexit.toml.5")
	must(t, err)

	var settings, rules strings.Builder
	into := &settings
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#[[keep]]") {
			into = &rules
		}
		if len(line) > 1 && line[0] == '#' && line[1] != ' ' && line[1] != '\n' {
			into.WriteString(line[1:])
		} else if strings.TrimSpace(line) != "" && line[0] != '#' {
			t.Errorf("not a comment: %s", line)
		}
	}
	c, _, err := load(t, "x.toml", settings.String())
	c.Sources = nil
	if len(c.Markers) == 0 {
		c.Markers = nil
	}
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("the example's settings are not the defaults: %+v, %v", c, err)
	}
	if c, _, err = load(t, "x.toml", rules.String()); err != nil || len(c.Keep) != 1 {
		t.Errorf("the example's rule: %+v, %v", c.Keep, err)
	}
	d := &decoder{config: Default()}
	for _, fields := range []map[string]field{d.top(), d.hooks(), d.log(), d.daemon(), d.display(), d.rule(new(Keep))} {
		for _, key := range names(fields) {
			explained := func(heading string) bool { return strings.Contains(string(manual), heading) }
			if !explained("\n.It Ic "+key+" ") && !explained("\n.It Ic "+key+"\n") && !explained("\n.Ss ["+key+"]\n") && !explained("\n.Ss [["+key+"]]\n") {
				t.Errorf("the manual does not explain %q", key)
			}
			if !strings.Contains(string(text), key) {
				t.Errorf("the example does not have %q", key)
			}
		}
	}
	for _, word := range append(LoginTypes(), Exemptions()...) {
		if !strings.Contains(string(manual), "\n.It Cm "+word+"\n") {
			t.Errorf("the manual does not explain %q", word)
		}
	}
	for _, reason := range session.Reasons() {
		if !strings.Contains(string(manual), string(reason)) {
			t.Errorf("the manual does not have the reason %q", reason)
		}
	}
}

func TestTakesOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ loginType, service, want string }{
		{"x11", "lightdm", "x11"},
		{"x11", "xrdp-sesman", "x11"},
		{"wayland", "gdm-password", "wayland"},
		{"x11", "sshd", "x11"},
		{"tty", "sshd", "ssh"},
		{"unspecified", "sshd", "ssh"},
		{"tty", "login", "tty"},
		{"web", "cockpit", "other"},
		{"unspecified", "su-l", "other"},
		{"", "", "other"},
		{"ssh", "", "other"},
	} {
		for _, word := range LoginTypes() {
			if got := (Daemon{Types: []string{word}}).TakesOn(c.loginType, c.service); got != (word == c.want) {
				t.Errorf("types = [%q], Type %q, Service %q: %v", word, c.loginType, c.service, got)
			}
		}
	}
}
