package member

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// A table holds what a map would.
func TestTable(t *testing.T) {
	var got table[int32]
	want := map[int]int32{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		pid, v := random.IntN(5000)<<random.IntN(18), int32(random.IntN(3))
		if got.set(pid, v); v == 0 {
			delete(want, pid)
		} else {
			want[pid] = v
		}
	}
	if all := maps.Collect(got.all()); !maps.Equal(all, want) || got.count != len(want) {
		t.Errorf("%d of %d are as in a map, count %d", len(all), len(want), got.count)
	}
	for _, pid := range []int{-1, 0, 5001, 1 << 40} {
		if got.get(pid) != want[pid] {
			t.Errorf("%d has %d, want %d", pid, got.get(pid), want[pid])
		}
	}
	for pid := range got.all() {
		got.set(pid, 0)
	}
	got.set(7, 1)
	if got.count != 1 {
		t.Errorf("count %d after all but one were removed", got.count)
	}
	if got.clear(); got.count != 0 || got.get(7) != 0 {
		t.Errorf("cleared: count %d, 7 has %d", got.count, got.get(7))
	}
}
