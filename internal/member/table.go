package member

import (
	"iter"
	"math"
)

// table holds something by the number of a process. It is a hash table by the
// number itself: as they are given one after the other they mostly lie one after
// the other here. A Go map costs a tenth of what a look at thousands takes beside
// the kernel's work. The zero of V is nothing.
type table[V comparable] struct {
	keys   []uint32 // number + 1; 0: the slot was never used
	values []V
	used   int // slots, also of what was removed
	count  int
}

// leastSlots is a power of two, as all sizes are.
const leastSlots = 1 << 6

// get is what a number has.
func (t *table[V]) get(pid int) (v V) {
	if slot, ok := t.slot(pid); ok {
		return t.values[slot]
	}
	return v
}

// slot is where a number is, or if it is nowhere where it can be put.
func (t *table[V]) slot(pid int) (slot int, ok bool) {
	if len(t.keys) == 0 || pid < 0 || pid > math.MaxInt32 {
		return 0, false
	}
	mask, key := len(t.keys)-1, uint32(pid)+1
	for slot = pid & mask; t.keys[slot] != 0; slot = (slot + 1) & mask {
		if t.keys[slot] == key {
			return slot, true
		}
	}
	return slot, false
}

// set gives a number, which is a process's, something; nothing removes it.
func (t *table[V]) set(pid int, v V) {
	var nothing V
	slot, ok := t.slot(pid)
	switch {
	case ok:
		if t.values[slot] != nothing {
			t.count--
		}
	case v == nothing:
		return
	default:
		if t.used >= len(t.keys)/2 {
			t.resize(t.count + 1)
			slot, _ = t.slot(pid)
		}
		t.keys[slot] = uint32(pid) + 1
		t.used++
	}
	if t.values[slot] = v; v != nothing {
		t.count++
	}
}

// reserve makes room for n numbers in all.
func (t *table[V]) reserve(n int) {
	if n > len(t.keys)/2 {
		t.resize(n)
	}
}

// resize makes room for n numbers and as many again, and forgets what was removed.
func (t *table[V]) resize(n int) {
	size := leastSlots
	for size < 4*n {
		size *= 2
	}
	old := *t
	*t = table[V]{keys: make([]uint32, size), values: make([]V, size)}
	for pid, v := range old.all() {
		t.set(pid, v)
	}
}

// clear removes everything.
func (t *table[V]) clear() {
	clear(t.keys)
	clear(t.values)
	t.used, t.count = 0, 0
}

// all goes through the numbers that have something, in no particular order. What
// they have may be removed meanwhile.
func (t *table[V]) all() iter.Seq2[int, V] {
	return func(yield func(int, V) bool) {
		var nothing V
		for slot, v := range t.values {
			if v != nothing && !yield(int(t.keys[slot])-1, v) {
				return
			}
		}
	}
}
