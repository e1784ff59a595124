package registry_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xexit/internal/registry"
	"xexit/internal/session"
)

func TestListDropsOtherBoots(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	h := register(t, r, registry.Entry{ID: idA, Boot: "of yesterday"})
	all, err := r.List()
	if err != nil || len(all) != 0 {
		t.Errorf("listed %+v, %v", all, err)
	}
	if _, err := os.Stat(filepath.Join(dir, string(h.Entry().ID)+".session")); !os.IsNotExist(err) {
		t.Errorf("file still there: %v", err)
	}
}

func TestListNamesWhatItCannotRead(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"torn":           func(s string) string { return s[:len(s)/2] },
		"empty":          func(string) string { return "" },
		"other id":       func(s string) string { return strings.Replace(s, string(idA), string(idC), 1) },
		"later version":  func(s string) string { return strings.Replace(s, "session 1", "session 2", 1) },
		"bad number":     func(s string) string { return strings.Replace(s, `start="0"`, `start="x"`, 1) },
		"not quoted":     func(s string) string { return strings.Replace(s, `start="0"`, `start=0`, 1) },
		"no id":          func(s string) string { return strings.Replace(s, `id="`+string(idA)+"\"\n", "", 1) },
		"cut at the end": func(s string) string { return strings.TrimSuffix(s, "end\n") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := open(t, dir)
			register(t, r, registry.Entry{ID: idA})
			register(t, r, registry.Entry{ID: idB})
			rewrite(t, dir, damage)
			all, err := r.List()
			if err == nil || !strings.Contains(err.Error(), string(idA)+".session") {
				t.Errorf("error %v does not name the file", err)
			}
			if len(all) != 1 || all[0].ID != idB {
				t.Errorf("the rest: %+v", all)
			}
		})
	}
}

func TestUnknownKeysAndPhase(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	register(t, r, registry.Entry{ID: idA})
	rewrite(t, dir, func(s string) string {
		s = strings.Replace(s, `"watching"`, `"hibernating"`, 1)
		return strings.Replace(s, "phase=", "colour=\"blue\"\nphase=", 1)
	})
	if l, err := r.Find(idA); err != nil || l.Phase != session.PhaseWatching || !l.Live {
		t.Errorf("%+v, %v", l, err)
	}
}
