package system

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// number is the number after a word in a file of proc(5); 0: it is not there.
func number(file, word string) (n int) {
	text, _ := os.ReadFile(file)
	_, rest, _ := strings.Cut(string(text), "\n"+word)
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// processor is how long a process has computed, by its stat (proc(5)).
func processor(file string) (time.Duration, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int64
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s: %q", file, text)
	}
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	const tick = time.Second / 100
	return time.Duration(user+system) * tick, nil
}
