package display

import (
	"testing"
)

func TestLook(t *testing.T) {
	look := Observation{Kind: Look, Now: s, Within: s}
	t.Run("alive", func(t *testing.T) {
		m := machine(Local, nil)
		m, a := m.Step(look)
		if !a.Ping || a.Alive {
			t.Fatalf("%+v", a)
		}
		m, _ = m.Step(Observation{Kind: Answer, Now: s})
		if m.Wake() != 2*s {
			t.Fatalf("wakes at %v", m.Wake())
		}
		if m, a = m.Step(Observation{Kind: Tick, Now: 2 * s}); !a.Alive || m.State() != OK {
			t.Fatalf("%+v %v", a, m.State())
		}
	})
	t.Run("stopped is alive", func(t *testing.T) {
		m := machine(Local, nil)
		m, _ = m.Step(look)
		if _, a := m.Step(Observation{Kind: Tick, Now: 2 * s, Peer: PeerStopped}); !a.Alive {
			t.Fatalf("%+v", a)
		}
	})
	t.Run("broken and no way back", func(t *testing.T) {
		m := machine(Local, nil)
		m, _ = m.Step(look)
		m, _ = m.Step(Observation{Kind: Broken, Now: s + s/2, Cause: "EOF"})
		m, _ = m.Step(Observation{Kind: Reached, Now: s + s/2})
		if m, _ = m.Step(Observation{Kind: Tick, Now: 2 * s}); m.State() != GONE {
			t.Fatal(m.State())
		}
	})
}
