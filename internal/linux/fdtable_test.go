package linux

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// fdSize is how many descriptors the table has room for (proc(5)).
func fdSize(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nFDSize:")
	line, _, _ := strings.Cut(rest, "\n")
	size, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func TestGrowFDTable(t *testing.T) {
	limit, err := OpenFileLimit()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 600, 600, 1 << 20} {
		if err := GrowFDTable(n); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		if got, want := fdSize(t), min(n, limit); got < want {
			t.Errorf("%d: room for %d, want %d", n, got, want)
		}
	}
}
