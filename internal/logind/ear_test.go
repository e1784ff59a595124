package logind

import (
	"maps"
	"testing"

	"github.com/godbus/dbus/v5"
)

// TestEar: only logind and the bus itself are heard, whoever else sends what
// they would.
func TestEar(t *testing.T) {
	t.Parallel()
	e := newEar()
	say := func(sender, iface, member string, body ...any) {
		e.DeliverSignal(iface, member, &dbus.Signal{Sender: sender, Body: body})
	}
	heard := func(what string, want ...string) {
		t.Helper()
		ids := map[string]struct{}{}
		for _, id := range want {
			ids[id] = struct{}{}
		}
		if got := e.take(); !maps.Equal(got, ids) {
			t.Errorf("%s: heard %q, want %q", what, got, want)
		}
	}
	session := dbus.ObjectPath("/s")
	say(":1.5", manager, "SessionNew", "1", session)
	heard("before logind is known")
	e.know(":1.5")
	say(":1.5", manager, "SessionNew", "1", session)
	say(":1.5", manager, "SessionRemoved", "c2", session)
	say(":1.5", manager, "SessionNew", "1", session)
	heard("logind", "1", "c2")
	say(":1.66", manager, "SessionNew", "3", session)
	say(":1.66", busItem, "NameOwnerChanged", name, ":1.5", ":1.66")
	say("", manager, "SessionNew", "3", session)
	say(":1.5", manager, "UserNew", uint32(1), session)
	say(":1.5", manager, "SessionNew")
	say(":1.5", manager, "SessionNew", uint32(3))
	say(busItem, busItem, "NameOwnerChanged", "org.example", "", ":1.66")
	say(busItem, busItem, "NameOwnerChanged", name)
	heard("others, and nonsense")
	say(busItem, busItem, "NameOwnerChanged", name, ":1.5", "")
	say(":1.5", manager, "SessionNew", "4", session)
	say(busItem, busItem, "NameOwnerChanged", name, "", ":1.9")
	say(":1.9", manager, "SessionNew", "5", session)
	heard("logind anew", "", "5")
	e.know(":1.5")
	say(":1.9", manager, "SessionNew", "6", session)
	heard("an answer that was overtaken", "6")
	select {
	case <-e.wake:
	default:
		t.Error("it does not wake whoever waits")
	}
}
