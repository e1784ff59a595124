package daemon

import "sync"

// dirty is what is to be looked at again: a set, so that a source which
// floods costs no memory. "" is everything.
type dirty struct {
	wake chan struct{} // has one element where the set is not empty

	mu  sync.Mutex
	ids map[string]struct{}
}

// dirtyMost is how many single logins are remembered before it is everything.
const dirtyMost = 4096

func newDirty() *dirty {
	return &dirty{wake: make(chan struct{}, 1), ids: make(map[string]struct{})}
}

// add may be called from anywhere.
func (d *dirty) add(id string) {
	d.mu.Lock()
	if len(d.ids) >= dirtyMost {
		clear(d.ids)
		id = ""
	}
	if _, all := d.ids[""]; !all {
		d.ids[id] = struct{}{}
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take empties the set. With everything in it single ids say nothing more.
func (d *dirty) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, all := d.ids[""]; all {
		clear(d.ids)
		return []string{""}
	}
	ids := make([]string, 0, len(d.ids))
	for id := range d.ids {
		ids = append(ids, id)
	}
	clear(d.ids)
	return ids
}
