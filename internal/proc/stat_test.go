package proc

import (
	"fmt"
	"strings"
	"testing"
)

// statLine is a line as Linux 6 writes it, with a name of our choice.
func statLine(name, state string) string {
	return "4121 (" + name + ") " + state + " 1 4121 4100 34816 4121 4194304 100 0 0 0 5 2 0 0 20 0 3 0 " +
		"987654 10000000 250 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 140000 140050 140050 141000 0\n"
}

func TestParseStat(t *testing.T) {
	for _, name := range []string{"sleep", "", ") S 1", "a b", "((", "))", "x) R 1 1 1 1", "new\nline", "5 (sh) S 1"} {
		var s Stat
		if err := parseStat([]byte(statLine(name, "S")), &s, new(names)); err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		want := Stat{
			PID: 4121, PPID: 1, PGID: 4121, SID: 4100, TTY: 34816, State: 'S', Comm: name,
			Start: 987654, Flags: 4194304, Threads: 3, EnvEnd: 141000,
		}
		if s != want {
			t.Errorf("%q:\ngot  %+v\nwant %+v", name, s, want)
		}
	}
}

// Names are kept, and none is taken for another one.
func TestParseStatNames(t *testing.T) {
	var known names
	for range 2 {
		for i := range 500 {
			var s Stat
			want := fmt.Sprintf("name-%d", i)
			if err := parseStat([]byte(statLine(want, "S")), &s, &known); err != nil || s.Comm != want {
				t.Fatalf("%q, %v; want %q", s.Comm, err, want)
			}
		}
	}
}

func TestParseStatOlderKernel(t *testing.T) {
	// Before Linux 3.5 the line ended behind field 44.
	line := strings.Join(strings.Fields(statLine("sleep", "T"))[:44], " ")
	var s Stat
	if err := parseStat([]byte(line), &s, new(names)); err != nil {
		t.Fatal(err)
	}
	if s.Start != 987654 || s.EnvEnd != 0 || s.State != 'T' {
		t.Errorf("got %+v", s)
	}
}

func TestParseStatMalformed(t *testing.T) {
	for _, line := range []string{
		"", "1", "1 (a", "1 a)", "(a) S 1", "x (a) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
		"1 (a) S", "1 (a) SS 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "1 (a) S x 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
		"99999999999 (a) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
	} {
		s := Stat{Comm: "before"}
		if err := parseStat([]byte(line), &s, new(names)); err == nil {
			t.Errorf("%q: no error, got %+v", line, s)
		} else if s != (Stat{Comm: "before"}) {
			t.Errorf("%q: changed the value to %+v", line, s)
		}
	}
}

func TestStatStates(t *testing.T) {
	for _, c := range []struct {
		state         byte
		threads       int
		flags         uint32
		dead, exiting bool
	}{
		{'R', 1, 0, false, false},
		{'D', 1, flagExiting, false, true},
		{'Z', 1, 0, true, true},
		{'Z', 4, 0, false, true}, // the leader is dead, its threads run
		{'X', 0, 0, true, true},
	} {
		s := Stat{State: c.state, Threads: c.threads, Flags: c.flags}
		if s.Dead() != c.dead || s.Exiting() != c.exiting {
			t.Errorf("%c with %d threads: dead %v, exiting %v", c.state, c.threads, s.Dead(), s.Exiting())
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine("sleep", "S")))
	f.Add([]byte(statLine(") S 1", "Z")))
	f.Fuzz(func(t *testing.T, line []byte) {
		before := Stat{Comm: "before", PID: 7}
		s := before
		if err := parseStat(line, &s, new(names)); err != nil {
			if s != before {
				t.Fatalf("error %v, but the value changed to %+v", err, s)
			}
			return
		}
		if s.PID < 0 || !strings.Contains(string(line), "("+s.Comm+")") {
			t.Fatalf("%q gave %+v", line, s)
		}
		// Whatever the name is, the same line with another one says the same.
		i, j := strings.IndexByte(string(line), '('), strings.LastIndexByte(string(line), ')')
		var other Stat
		renamed := string(line[:i]) + "() Z 0 (" + string(line[j:])
		if err := parseStat([]byte(renamed), &other, new(names)); err != nil {
			t.Fatalf("renamed %q: %v", renamed, err)
		}
		other.Comm = s.Comm
		if other != s {
			t.Fatalf("renamed: %+v, was %+v", other, s)
		}
	})
}

func BenchmarkParseStat(b *testing.B) {
	line := []byte(statLine("sleep", "S"))
	var s Stat
	var known names
	b.ReportAllocs()
	for b.Loop() {
		s.Comm = ""
		if err := parseStat(line, &s, &known); err != nil {
			b.Fatal(err)
		}
	}
}
