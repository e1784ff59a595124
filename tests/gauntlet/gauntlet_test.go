package gauntlet

import (
	"testing"

	"xexit/tests/booted"
	"xexit/tests/machine"
)

// TestGauntlet: what is written in ways.go holds. Every way outlives a logout;
// none survives xexit but where that was written down, and named then; and
// nobody else is hurt.
func TestGauntlet(t *testing.T) {
	stage := booted.StageBy(t, Stage, machine.Debian12)
	cells, err := RunAll(stage, Ways(), append([]Ender{Control()}, Xexits()...), 3, func(c Cell) { t.Log(c.Line()) })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cells {
		t.Run(c.Way.Name+"/"+c.Ender.Name, func(t *testing.T) {
			for _, w := range c.Wrong {
				t.Error(w)
			}
		})
	}
}
