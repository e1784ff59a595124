package member

import "iter"

// table holds something by the number of a process, in pages: a hash table costs a
// tenth of what a look at thousands takes beside the kernel's work. The numbers are
// the kernel's and so not large (pid_max, proc_sys_kernel(5)). The zero of V is
// nothing.
type table[V comparable] struct {
	pages []*[tablePage]V
	count int
}

const tablePage = 1 << 10

// get is what a number has.
func (t *table[V]) get(pid int) (v V) {
	if page := uint(pid) / tablePage; page < uint(len(t.pages)) && t.pages[page] != nil {
		return t.pages[page][uint(pid)%tablePage]
	}
	return v
}

// set gives a number, which is not negative, something; nothing removes it.
func (t *table[V]) set(pid int, v V) {
	var nothing V
	page := pid / tablePage
	for page >= len(t.pages) {
		t.pages = append(t.pages, nil)
	}
	if t.pages[page] == nil {
		t.pages[page] = new([tablePage]V)
	}
	slot := &t.pages[page][pid%tablePage]
	if *slot != nothing {
		t.count--
	}
	if *slot = v; v != nothing {
		t.count++
	}
}

// clear removes everything.
func (t *table[V]) clear() {
	for _, page := range t.pages {
		if page != nil {
			clear(page[:])
		}
	}
	t.count = 0
}

// all goes through the numbers that have something, in order. What they have may be
// removed meanwhile.
func (t *table[V]) all() iter.Seq2[int, V] {
	return func(yield func(int, V) bool) {
		var nothing V
		for n, page := range t.pages {
			if page == nil {
				continue
			}
			for i, v := range page {
				if v != nothing && !yield(n*tablePage+i, v) {
					return
				}
			}
		}
	}
}
