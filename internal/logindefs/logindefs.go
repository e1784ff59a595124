// Package logindefs understands login.defs(5) as far as it says whose
// processes are an ordinary user's. It works on the file's text: reading it
// belongs to the callers.
package logindefs

import (
	"fmt"
	"strconv"
	"strings"
)

// Where the file is, and what holds where it says nothing.
const (
	Path          = "/etc/login.defs"
	DefaultUIDMin = 1000
	DefaultUIDMax = 60000
)

// UIDMin is the first ordinary user's id. A value that is no number is an
// error that names the line: to guess could make a system user an ordinary one.
func UIDMin(text string) (uint32, error) { return number(text, "UID_MIN", DefaultUIDMin) }

// Range is where ordinary users' ids lie, UID_MIN and UID_MAX.
type Range struct{ Min, Max uint32 }

// UIDs is the range, with errors like UIDMin's.
func UIDs(text string) (Range, error) {
	least, err := UIDMin(text)
	if err != nil {
		return Range{}, err
	}
	most, err := number(text, "UID_MAX", DefaultUIDMax)
	if err != nil {
		return Range{}, err
	}
	return Range{least, most}, nil
}

// Has reports whether uid lies in the range.
func (r Range) Has(uid uint32) bool { return uid >= r.Min && uid <= r.Max }

// System reports whether uid is a system user's. Above UID_MAX lie not only
// nobody and dynamic users but also the users of a directory service, whose
// sessions do end.
func (r Range) System(uid uint32) bool { return uid < r.Min || uid == nobody || uid == noUID }

const (
	nobody = 65534     // the overflow uid, /proc/sys/kernel/overflowuid
	noUID  = 1<<32 - 1 // (uid_t)-1, which names nobody
)

// number is the value of the last line that sets name.
func number(text, name string, otherwise uint32) (uint32, error) {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != name {
			continue
		}
		value, err := strconv.ParseUint(fields[1], 0, 32)
		if err != nil {
			return 0, fmt.Errorf("line %d: %s: expected a number, got %q", n, name, fields[1])
		}
		otherwise = uint32(value)
	}
	return otherwise, nil
}
