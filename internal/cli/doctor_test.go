package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"xexit/internal/doctor"
)

// A shell in no session: with an ordinary user's rights that is a problem,
// root is told how to go about it.
func TestDoctor(t *testing.T) {
	status, stdout, stderr := run(t, []string{"LANG=C.UTF-8"}, "doctor", "--json")
	var r doctor.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || stderr != "" {
		t.Fatalf("%v, %q, in %q", err, stderr, stdout)
	}
	if want := min(r.Problems, 1); status != want {
		t.Errorf("status %d with %d problems", status, r.Problems)
	}
	first := r.Sections[0].Findings[0]
	if want := map[bool]string{true: "session.root", false: "session.none"}[os.Getuid() == 0]; first.Key != want {
		t.Errorf("%+v, want %s", first, want)
	}
	_, stdout, _ = run(t, []string{"LANG=C.UTF-8"}, "doctor")
	for _, s := range r.Sections {
		if !strings.Contains(stdout, s.Title+"\n") {
			t.Errorf("no %q in:\n%s", s.Title, stdout)
		}
	}
}

func TestDoctorUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"doctor", "now"}, "unknown command"},
		{[]string{"doctor", "--session", "12"}, `"12" is the beginning of 0 sessions`},
		{[]string{"doctor", "--session", "12", "--all"}, "exclude each other"},
	} {
		if status, stdout, stderr := run(t, nil, c.args...); status != 2 || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: status %d, %q, %q", c.args, status, stdout, stderr)
		}
	}
}

// What a process chose is escaped, signs are those that the locale has, and
// without a terminal a finding stays on one line.
func TestShowDoctor(t *testing.T) {
	long := strings.Repeat("word ", 40)
	r := doctor.Report{User: "alice", Host: "lab", Problems: 1, Notes: 1, Sections: []doctor.Section{{
		Title: "Display \x1b[31m",
		Findings: []doctor.Finding{
			{Level: doctor.Fine, Text: "good"},
			{Level: doctor.Note, Text: "odd \x1b]0;x\a", Means: "it\nmeans"},
			{Level: doctor.Problem, Text: long, Do: "this"},
		},
	}}}
	for _, c := range []struct {
		lang  string
		signs []string
	}{{"C.UTF-8", []string{"  ✓ good", "  ! odd", "  ✗ word"}}, {"C", []string{"  + good", "  ! odd", "  x word"}}} {
		var out bytes.Buffer
		showDoctor(Env{Stdout: &out, Environ: []string{"LANG=" + c.lang, "TERM=xterm"}}, r)
		lines := strings.Split(out.String(), "\n")
		for _, sign := range c.signs {
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, sign) }) {
				t.Errorf("%s: no line begins with %q:\n%s", c.lang, sign, out.String())
			}
		}
		if strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), `it\x0ameans`) || !strings.Contains(out.String(), "    do: this\n") {
			t.Errorf("%q", out.String())
		}
		if !strings.Contains(out.String(), strings.TrimSpace(long)) {
			t.Errorf("%s: the long line was broken:\n%s", c.lang, out.String())
		}
		if !strings.HasSuffix(out.String(), "alice on lab: 1 problem to mend before xexit can do its job, 1 note\n") {
			t.Errorf("%q", out.String())
		}
	}
}

func TestUTF8Locale(t *testing.T) {
	for environ, want := range map[string]bool{
		"": false, "LANG=de_DE.UTF-8": true, "LANG=C.utf8": true, "LANG=C.UTF-8 LC_ALL=C": false,
		"LC_CTYPE=en_US.UTF-8 LANG=C": true, "LC_ALL= LANG=C.UTF-8": true,
	} {
		env := Env{Environ: strings.Fields(environ)}
		if got := utf8Locale(env.getenv); got != want {
			t.Errorf("%q: %v", environ, got)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"a bc d", 4, "a bc|d"}, {"ab cd", 5, "ab cd"}, {"longer a", 3, "longer|a"}, {"ää öö", 5, "ää öö"}, {"a b", 0, "a b"}, {"", 9, ""},
	} {
		if got := strings.Join(wrap(c.text, c.width), "|"); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
