package display

import (
	"slices"
	"testing"

	"xexit/internal/display/x11"
	"xexit/internal/linux"
)

// counts takes what a client says of the others, by their ids.
type counts struct {
	t    *testing.T
	told [][]uint32
}

func (*counts) reached(*client) {}
func (*counts) joined(*client)  {}
func (*counts) heard(*client)   {}

func (k *counts) said(_ *client, o Observation) {
	var bases []uint32
	for _, name := range o.Resident {
		if name != 0 {
			bases = append(bases, uint32(name>>32))
		}
	}
	if len(bases) != min(o.Others, maxResident) {
		k.t.Errorf("%d others, of whom %v are named", o.Others, bases)
	}
	k.told = append(k.told, bases)
}

func (k *counts) lost(_ *client, _ Outcome, cause error) { k.t.Errorf("lost: %v", cause) }

// Who is counted, from what the server answers in turn.
func TestCensus(t *testing.T) {
	const own, a, b = 0x200000, 0x400000, 0x600000
	list := func(bases ...uint32) x11.ClientsReply {
		r := x11.ClientsReply{Tag: tagClients, Clients: []x11.Client{{}, {Base: own}}}
		for _, base := range bases {
			r.Clients = append(r.Clients, x11.Client{Base: base, PID: base >> 20})
		}
		return r
	}
	later := list(a) // another process, in the place of one that left
	later.Clients[2].PID = 77
	mark := func(i x11.Tag) x11.Event {
		return x11.PropertyReply{Tag: tagMark + i, Type: 31, Format: 8, Value: []byte(markValue)}
	}
	plain := func(i x11.Tag) x11.Event { return x11.PropertyReply{Tag: tagMark + i} }
	noWindow := func(i x11.Tag) x11.Event { return x11.ErrorReply{Tag: tagMark + i, Code: 3} }
	for _, c := range []struct {
		name   string
		events []x11.Event
		want   []uint32
	}{
		{"nobody", []x11.Event{list()}, nil},
		{"a watcher", []x11.Event{list(a), mark(0)}, nil},
		{"a client with a window", []x11.Event{list(a), plain(0)}, []uint32{a}},
		{"nonsense", []x11.Event{list(a), x11.Unexpected{Tag: tagMark}}, []uint32{a}},
		{"a client without one", []x11.Event{list(a), noWindow(0), list(a)}, []uint32{a}},
		{"a watcher that leaves meanwhile", []x11.Event{list(a), noWindow(0), list()}, nil},
		{"the same, beside a client", []x11.Event{list(a, b), noWindow(0), plain(1), list(b)}, []uint32{b}},
		{"the same, beside a watcher", []x11.Event{list(a, b), mark(0), noWindow(1), list(a)}, nil},
		{"one leaves and another comes", []x11.Event{list(a), noWindow(0), later}, nil},
		{"too many to tell", []x11.Event{list(a), noWindow(0), x11.ClientsReply{Tag: tagClients, More: true}}, []uint32{a}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &counts{t: t}
			x := newX11(&client{to: k, sock: &linux.Socket{}, ready: true}, 0, nil, "")
			x.base, x.mask = own, 0x1fffff
			for round := 1; round <= 2; round++ { // the second as the first
				x.count()
				for i, e := range c.events {
					if len(k.told) == round {
						t.Fatalf("told before answer %d", i)
					}
					if err := x.event(e); err != nil {
						t.Fatal(err)
					}
				}
				if len(k.told) != round || !slices.Equal(k.told[round-1], c.want) {
					t.Errorf("told %v, want %v", k.told, c.want)
				}
			}
		})
	}
}
