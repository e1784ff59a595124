package gauntlet

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestLastDeath(t *testing.T) {
	const record = `{"event": "done", "verified": true, "processes": [{"after_ms": 120.5}, {"after_ms": 7}, {}]}`
	for _, text := range []string{record, "[" + record + "]", record + "\nlevel=WARN"} {
		if after, verified := lastDeath(text); after != 120500*time.Microsecond || !verified {
			t.Errorf("%s: %v, %v", text, after, verified)
		}
	}
	for _, text := range []string{"", "xexit: no such session", strings.Replace(record, "true", "false", 1)} {
		if _, verified := lastDeath(text); verified {
			t.Errorf("%q says that it is verified", text)
		}
	}
}

// The table has the median, what took longest, and the ratio to the floor of
// the same bomb.
func TestWriteBombs(t *testing.T) {
	ms := func(n ...int) (all []time.Duration) {
		for _, one := range n {
			all = append(all, time.Duration(one)*time.Millisecond)
		}
		return all
	}
	var out bytes.Buffer
	WriteBombs(&out, []BombRow{
		{Bomb: "a", Ender: "floor", Runs: 3, Took: ms(10, 30, 20), Whole: ms(110, 130, 120)},
		{Bomb: "a", Ender: "xexit, as root", Runs: 3, Took: ms(90, 30, 10), Whole: ms(400, 300, 200)},
		{Bomb: "a", Ender: "pkill loop", Runs: 1},
	})
	for _, line := range []string{
		"| a | floor | 3 | 3 | 20 ms | 30 ms | 1.0 | 120 ms | 130 ms |",
		"| a | xexit, as root | 3 | 3 | 30 ms | 90 ms | 1.5 | 300 ms | 400 ms |",
		"| a | pkill loop | 1 | 0 | never |  |  | never |  |",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
}
