package logindefs_test

import (
	"strings"
	"testing"

	"xexit/internal/logindefs"
)

func TestUIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       logindefs.Range
		wrong      string
	}{
		{"nothing", "", logindefs.Range{Min: 1000, Max: 60000}, ""},
		{"both", "UID_MIN 500\nUID_MAX\t\t0xffff\n", logindefs.Range{Min: 500, Max: 0xffff}, ""},
		{"comments and others", "# UID_MIN 5\nSYS_UID_MIN 100\nUMASK 022\nUID_MIN 1001", logindefs.Range{Min: 1001, Max: 60000}, ""},
		{"without a value", "UID_MIN\n", logindefs.Range{Min: 1000, Max: 60000}, ""},
		{"the last one counts", "UID_MIN 500\nUID_MIN 600\n", logindefs.Range{Min: 600, Max: 60000}, ""},
		{"no number", "UMASK 022\nUID_MIN many\n", logindefs.Range{}, `line 2: UID_MIN: expected a number, got "many"`},
		{"negative", "UID_MAX -1\n", logindefs.Range{}, "line 1: UID_MAX"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := logindefs.UIDs(c.text)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error %v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			if least, err := logindefs.UIDMin(c.text); err != nil || least != c.want.Min {
				t.Errorf("UIDMin %d, %v", least, err)
			}
		})
	}
}

func TestWhoIsWho(t *testing.T) {
	t.Parallel()
	r := logindefs.Range{Min: 1000, Max: 60000}
	for _, c := range []struct {
		uid         uint32
		has, system bool
	}{
		{0, false, true},
		{999, false, true},
		{1000, true, false},
		{60000, true, false},
		{60001, false, false},
		{1_200_345, false, false},
		{65534, false, true},
		{1<<32 - 1, false, true},
	} {
		if r.Has(c.uid) != c.has || r.System(c.uid) != c.system {
			t.Errorf("%d: has %v, system %v", c.uid, r.Has(c.uid), r.System(c.uid))
		}
	}
}
