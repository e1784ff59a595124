package term_test

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"xexit/internal/term"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"plain", "bash", "bash"},
		{"empty", "", ""},
		{"letters of the world", "Ünïcödé 日本 emoji 🙂", "Ünïcödé 日本 emoji 🙂"},
		{"backslash stays", `a\b`, `a\b`},
		{"colour sequence", "\x1b[31mred", `\x1b[31mred`},
		{"title sequence", "\x1b]0;pwned\a", `\x1b]0;pwned\x07`},
		{"newline and tab", "a\nb\tc\r", `a\x0ab\x09c\x0d`},
		{"nul and delete", "\x00\x7f", `\x00\x7f`},
		{"C1 as UTF-8", "\u009b31m", `\u{9b}31m`},
		{"C1 as a bare byte", "\x9b31m", `\x9b31m`},
		{"bidirectional override", "a\u202egnp.exe", `a\u{202e}gnp.exe`},
		{"bidirectional isolate", "\u2066x\u2069", `\u{2066}x\u{2069}`},
		{"line separators", "a\u2028b\u2029", `a\u{2028}b\u{2029}`},
		{"zero width", "a\u200bb\ufeff", `a\u{200b}b\u{feff}`},
		{"tag characters", "\U000e0041", `\u{e0041}`},
		{"truncated UTF-8", "a\xe2\x80", `a\xe2\x80`},
		{"surrogate in UTF-8", "\xed\xa0\x80", `\xed\xa0\x80`},
		{"real replacement character", "\ufffd", "\ufffd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := term.Escape(c.in); got != c.want {
				t.Errorf("Escape(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func TestLinesAndCut(t *testing.T) {
	t.Parallel()
	got := strings.Join(term.Lines("one\r\ntwo\x1b\n\nend\n"), "|")
	if want := `one|two\x1b||end`; got != want {
		t.Errorf("Lines: %q, want %q", got, want)
	}
	if got, want := term.EscapeText("a\x1b\nb"), "a\\x1b\nb"; got != want {
		t.Errorf("EscapeText: %q, want %q", got, want)
	}
	if lines := term.Lines(""); lines != nil {
		t.Errorf("Lines of nothing: %q", lines)
	}
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{{"äöü", 3, "äöü"}, {"äöüß", 3, "äö…"}, {"ab", 0, "ab"}, {"ab", 1, "…"}, {"\x1bx", 4, `\x1…`}} {
		if got := term.Cut(c.in, c.width); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
}

func TestStyle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		terminal bool
		env      map[string]string
		on       bool
	}{
		{"terminal", true, map[string]string{"TERM": "xterm"}, true},
		{"pipe", false, map[string]string{"TERM": "xterm"}, false},
		{"NO_COLOR", true, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
		{"NO_COLOR empty", true, map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true},
		{"dumb", true, map[string]string{"TERM": "dumb"}, false},
		{"no TERM", true, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			style := term.NewStyle(c.terminal, func(name string) string { return c.env[name] })
			if style.On() != c.on {
				t.Errorf("On() = %v, want %v", style.On(), c.on)
			}
			want := `a\x1b`
			if c.on {
				want = "\x1b[31m" + want + "\x1b[0m"
			}
			if got := style.Paint(term.Red, "a\x1b"); got != want {
				t.Errorf("Paint = %q, want %q", got, want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var table term.Table
	table.Indent = "  "
	table.Head("PID", "NAME", "HOW")
	table.Row(term.Cell{Text: "7", Right: true}, term.Cell{Text: "schön"}, term.Cell{Text: "term"})
	table.Row(term.Cell{Text: "1234", Right: true}, term.Cell{Text: "a\nb"}, term.Cell{})
	table.Row(term.Text("x", "", "kill")...)
	table.Row()
	var out strings.Builder
	if err := table.Write(&out); err != nil {
		t.Fatal(err)
	}
	want := "  PID   NAME    HOW\n" +
		"     7  schön   term\n" +
		"  1234  a\\x0ab\n" +
		"  x             kill\n" +
		"\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestTableAlignsPaintedCells(t *testing.T) {
	t.Parallel()
	table := term.Table{Style: term.NewStyle(true, func(string) string { return "" })}
	if table.Style.On() {
		t.Fatal("no TERM, yet colour")
	}
	table.Style = term.NewStyle(true, func(name string) string {
		if name == "TERM" {
			return "xterm"
		}
		return ""
	})
	table.Row(term.Cell{Text: "ab", Colour: term.Red}, term.Cell{Text: "c"})
	table.Row(term.Cell{Text: "abcd"}, term.Cell{Text: "c"})
	var out strings.Builder
	if err := table.Write(&out); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[31mab\x1b[0m    c\nabcd  c\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0 ns"},
		{7, "7 ns"},
		{1500 * time.Nanosecond, "1.5 µs"},
		{850 * time.Microsecond, "850 µs"},
		{999600 * time.Nanosecond, "1.0 ms"},
		{1234 * time.Microsecond, "1.2 ms"},
		{9960 * time.Microsecond, "10 ms"},
		{35 * time.Millisecond, "35 ms"},
		{3400 * time.Millisecond, "3.4 s"},
		{59 * time.Second, "59 s"},
		{59700 * time.Millisecond, "1 min"},
		{125 * time.Second, "2 min 5 s"},
		{59*time.Minute + 59600*time.Millisecond, "1 h"},
		{200 * time.Minute, "3 h 20 min"},
		{52 * time.Hour, "2 d 4 h"},
		{-3400 * time.Millisecond, "-3.4 s"},
	} {
		if got := term.Duration(c.d); got != c.want {
			t.Errorf("Duration(%d) = %q, want %q", c.d, got, c.want)
		}
	}
	if got := term.Duration(-1 << 63); !strings.HasPrefix(got, "-") {
		t.Errorf("the smallest duration: %q", got)
	}
}

func FuzzEscape(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		got := term.Escape(text)
		if !utf8.ValidString(got) {
			t.Fatalf("not UTF-8: %q", got)
		}
		for _, r := range got {
			if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || !unicode.IsPrint(r) {
				t.Fatalf("%U comes through: %q", r, got)
			}
		}
		if again := term.Escape(got); again != got {
			t.Fatalf("escaping twice changes %q to %q", got, again)
		}
		if len(text) > 0 && got == "" {
			t.Fatalf("%q vanished", text)
		}
		for _, line := range term.Lines(text) {
			if strings.ContainsAny(line, "\n\r\x1b") {
				t.Fatalf("line %q", line)
			}
		}
	})
}
