// Package spelling tells how far a word is from the one that was probably
// meant. What words there are belongs to the callers.
package spelling

// longest is what is compared: the cost grows with the product of the lengths,
// and nothing that xexit knows by name is nearly as long.
const longest = 64

// Distance counts the edits between two words, in bytes: insertions, deletions,
// replacements and swaps of neighbours (Damerau's, without overlaps). Where a
// word has more than 64 bytes it is 64.
func Distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
