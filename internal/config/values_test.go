package config

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want time.Duration
		err  string
	}{
		{"3s", 3 * time.Second, ""},
		{"0", 0, ""},
		{"500ms", 500 * time.Millisecond, ""},
		{"1h30m", 90 * time.Minute, ""},
		{"30min", 30 * time.Minute, ""},
		{"1.5h", 90 * time.Minute, ""},
		{"2d", 48 * time.Hour, ""},
		{"1w", 168 * time.Hour, ""},
		{"", 0, `"" is no duration (a number and ms, s, m, h, d or w)`},
		{"3", 0, `"3" is no duration (a number and ms, s, m, h, d or w)`},
		{"3 s", 0, `"3 s" is no duration (a number and ms, s, m, h, d or w)`},
		{"3sec", 0, `"3sec" is no duration (a number and ms, s, m, h, d or w)`},
		{"-3s", 0, `"-3s" is negative`},
		{"1e3s", 0, `"1e3s" is no duration (a number and ms, s, m, h, d or w)`},
		{"99999999999999999999w", 0, `"99999999999999999999w" is longer than can be counted`},
	} {
		got, err := ParseDuration(c.text)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != c.want || text != c.err {
			t.Errorf("%q: %v %q, want %v %q", c.text, got, text, c.want, c.err)
		}
	}
}

func TestSpellReadsBack(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, time.Millisecond, 61 * time.Second, 25*time.Hour + 5*time.Millisecond} {
		if got, err := ParseDuration(spell(d)); err != nil || got != d {
			t.Errorf("%v is spelt %q, which reads %v, %v", d, spell(d), got, err)
		}
	}
	for _, n := range []int64{1 << 10, 3 << 20, 5 << 30, 1 << 50} {
		if got, err := parseSize(size(n)); err != nil || got != n {
			t.Errorf("%d is spelt %q, which reads %d, %v", n, size(n), got, err)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	keys := []string{"after", "count", "cpu", "for", "memory", "name", "programs", "tasks", "users"}
	for word, want := range map[string]string{
		"program": "programs", "porgrams": "programs", "user": "users", "mem": "memory", "memory-max": "memory",
		"Name": "name", "cpus": "cpu", "zzzzz": "", "x": "", "task": "tasks", "fro": "for",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
