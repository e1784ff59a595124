package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xexit/internal/session"
)

func TestSessionScope(t *testing.T) {
	for text, want := range map[string]string{
		"0::/user.slice/user-1000.slice/session-3.scope\n":                                   "/user.slice/user-1000.slice/session-3.scope",
		"4:memory:/x/session-9.scope\n1:name=systemd:/session-8.scope\n0::/session-c1.scope": "/session-c1.scope",
		"0::/user.slice/user-1000.slice/session-3.scope/below/it\n":                          "/user.slice/user-1000.slice/session-3.scope",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u1.scope\n":          "",
		"0::/user.slice/session-3.scopes\n":                                                  "",
		"4:memory:/x/session-9.scope\n1:name=systemd:/user.slice/session-8.scope/y":          "/user.slice/session-8.scope",
		"0::/\n": "",
		"":       "",
	} {
		if got := sessionScope(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestGraphical(t *testing.T) {
	const good = "UID=1000\nTYPE=x11\nDISPLAY=:5\nSCOPE=session-3.scope\nAUDIT=3\nLEADER=77\n"
	here := login{audit: 3, scope: "/user.slice/session-3.scope"}
	for _, c := range []struct {
		name, said string
		l          login
		session    string
		want       bool
	}{
		{"agrees", good, here, "3", true},
		{"screen", strings.Replace(good, ":5", ":5.0", 1), here, "3", true},
		{"only the audit id is known", good, login{audit: 3}, "3", true},
		{"only the scope is known", good, login{audit: session.NoAudit, scope: here.scope}, "3", true},
		{"nothing is known", good, login{audit: session.NoAudit}, "3", false},
		{"another audit id", good, login{audit: 4, scope: here.scope}, "3", false},
		{"another scope", good, login{audit: 3, scope: "/session-4.scope"}, "3", false},
		{"another display", strings.Replace(good, ":5", ":6", 1), here, "3", false},
		{"no display", strings.Replace(good, "DISPLAY=:5\n", "", 1), here, "3", false},
		{"tty", strings.Replace(good, "x11", "tty", 1), here, "3", false},
		{"another user", strings.Replace(good, "UID=1000", "UID=1001", 1), here, "3", false},
		{"unset audit id", strings.Replace(good, "AUDIT=3", "AUDIT=0", 1), here, "3", true},
		{"copied XDG_SESSION_ID of nothing", good, here, "4", false},
		{"path", good, here, "../sessions/3", false},
		{"none", good, here, "", false},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "3"), []byte(c.said), 0o644); err != nil {
			t.Fatal(err)
		}
		h := host{sessions: dir}
		if got := h.graphical(c.session, ":5", 1000, c.l); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestUIDMin(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "1000",
		"# UID_MIN 5\nUID_MIN 500\n":   "500",
		"SYS_UID_MIN 101\nUID_MIN\t77": "77",
		"UID_MIN many\n":               "error",
		"UID_MIN -1\n":                 "error",
	} {
		path := filepath.Join(t.TempDir(), "login.defs")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		n, err := host{loginDefs: path}.uidMin()
		got := fmt.Sprint(n)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if n, err := (host{loginDefs: "/nowhere"}).uidMin(); n != 1000 || err != nil {
		t.Errorf("absent: %d, %v", n, err)
	}
}

func TestClientOf(t *testing.T) {
	for _, c := range []struct {
		environ []string
		display string
		want    string
	}{
		{[]string{"LTSP_CLIENT_HOSTNAME=ltsp101", "SSH_CONNECTION=1.2.3.4 5 6.7.8.9 22"}, "10.0.0.7:0", "ltsp101"},
		{nil, "10.0.0.7:0.0", "10.0.0.7"},
		{nil, "[fe80::1]:0", "[fe80::1]"},
		{[]string{"SSH_CONNECTION=1.2.3.4 5 6.7.8.9 22"}, "localhost:10.0", "1.2.3.4"},
		{nil, ":0", ""},
		{nil, "unix:0", ""},
		{nil, "/run/user/1000/X", ""},
	} {
		if got := clientOf(c.environ, c.display); got != c.want {
			t.Errorf("%v on %s: %q, want %q", c.environ, c.display, got, c.want)
		}
	}
}

func TestJobRoundTrip(t *testing.T) {
	j := job{
		dir: "/run/user/1000/xexit", place: place{display: "host:3.1", wayland: true}, authority: "/home/u/.Xauthority", home: "/home/u", mainPath: "/x/xexit-main",
		ssh:       "10.0.0.2 40000 10.0.0.1 22",
		timing:    timing{1e9, 2e9, 3e9, 0},
		program:   program{path: "/bin/p", argv: []string{"p", "", "a=b", "new\nline"}},
		hasLeader: true,
	}
	j.entry.ID, j.entry.Marked, j.entry.OwnsLogin = "1b4e28ba-2fa1-41d2-883f-0016d3cca427", true, true
	j.entry.Wayland = true
	j.entry.Display, j.entry.Audit, j.entry.Scope = "host:3", 9, "/session-9.scope"
	j.entry.Leader, j.entry.Start, j.entry.UID = session.ProcID{PID: 5, Start: 6}, 6, 1000
	j.entry.Markers = []session.Marker{{Name: "A", Value: "1=2"}, {Name: "B", Value: "x"}}
	got, err := decodeJob(string(j.encode()))
	if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", j) {
		t.Errorf("%+v, %v\nwant %+v", got, err, j)
	}
	for _, bad := range []string{"", "version=0\x00", "version=1\x00colour=blue\x00", "version=1\x00start=x\x00"} {
		if _, err := decodeJob(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestEnvironAsItWas(t *testing.T) {
	given := []string{"B=2", "=odd", "no equals", "A=1", "XEXIT_LEADER=5", "XEXIT_OWNS_LOGIN=1", "XEXIT_SESSION=old", "XEXIT_SITE=theirs", "A=1 again"}
	f, err := memFile("environ", encodeEnviron(given))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	got, err := readEnviron(f)
	if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", given) {
		t.Errorf("%q, %v", got, err)
	}
	e := facts{id: "new"}
	want := `["B=2" "=odd" "no equals" "A=1" "XEXIT_SITE=theirs" "A=1 again" "XEXIT_SESSION=new"]`
	if got := fmt.Sprintf("%q", e.environ(given)[:7]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestParseFlags(t *testing.T) {
	o, err := parseFlags(verbWatch, []string{"--interval=2s", "--marker", "A", "-marker", "B=1", "--leader", "12", "--foreground", "prog", "--interval"})
	if err != nil || o.timing.interval != 2e9 || o.leader != 12 || !o.foreground || fmt.Sprint(o.command) != "[prog --interval]" {
		t.Errorf("%+v, %v", o, err)
	}
	got := o.marked([]string{"A=x", "DISPLAY=:1", "B=0", "EMPTY="}, []string{"DISPLAY", "EMPTY", "B"})
	if fmt.Sprint(got) != "[{DISPLAY :1} {B 1} {A x}]" {
		t.Errorf("markers %v", got)
	}
}
