package spelling_test

import (
	"strings"
	"testing"

	"xexit/internal/spelling"
)

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"a", "", 1},
		{"", "ps", 2},
		{"watch", "watch", 0},
		{"wacth", "watch", 1},
		{"pss", "ps", 1},
		{"edn", "end", 1},
		{"ab", "ba", 1},
		{"grace", "graec", 1},
		{"kitten", "sitting", 3},
		{strings.Repeat("a", 65), "a", 64},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if got := spelling.Distance(pair[0], pair[1]); got != c.want {
				t.Errorf("%q, %q: %d, want %d", pair[0], pair[1], got, c.want)
			}
		}
	}
}
