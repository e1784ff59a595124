package daemon

import (
	"sync"
	"time"
)

// dirty is what is to be looked at again: a set, so that a source which
// floods costs no memory. "" is everything.
type dirty struct {
	wake chan struct{} // has one element where the set is not empty

	mu  sync.Mutex
	ids map[string]time.Duration // CLOCK_BOOTTIME when that was first told; 0: not known
}

// dirtyMost is how many single logins are remembered before it is everything.
const dirtyMost = 4096

func newDirty() *dirty {
	return &dirty{wake: make(chan struct{}, 1), ids: make(map[string]time.Duration)}
}

// add may be called from anywhere. told is when a source said so, in
// CLOCK_BOOTTIME; 0: none did.
func (d *dirty) add(id string, told time.Duration) {
	d.mu.Lock()
	if len(d.ids) >= dirtyMost {
		clear(d.ids)
		id = ""
	}
	if _, all := d.ids[""]; !all && (d.ids[id] == 0) {
		d.ids[id] = told
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take empties the set. With everything in it single ids say nothing more.
func (d *dirty) take() map[string]time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := d.ids
	d.ids = make(map[string]time.Duration)
	if _, all := ids[""]; all {
		return map[string]time.Duration{"": 0}
	}
	return ids
}
