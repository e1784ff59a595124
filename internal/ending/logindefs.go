package ending

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// uidRange is where ordinary users' ids lie (login.defs(5), UID_MIN and UID_MAX).
type uidRange struct{ min, max uint32 }

func (r uidRange) has(uid uint32) bool { return uid >= r.min && uid <= r.max }

// system reports whether uid is a system user's. Above UID_MAX lie not only
// nobody and dynamic users but also the users of a directory service, whose
// sessions do end.
func (r uidRange) system(uid uint32) bool { return uid < r.min || uid == nobody || uid == noUID }

const (
	nobody = 65534     // the overflow uid, /proc/sys/kernel/overflowuid
	noUID  = 1<<32 - 1 // (uid_t)-1, which names nobody
)

// defaultUIDs holds where login.defs says nothing (login.defs(5)).
var defaultUIDs = uidRange{min: 1000, max: 60000}

// loginDefs reads the range from a file in the form of /etc/login.defs. An
// absent file means the defaults; one that cannot be read or understood is an
// error, since guessing could make a system user an ordinary one.
func loginDefs(path string) (uidRange, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return defaultUIDs, nil
	}
	if err != nil {
		return uidRange{}, err
	}
	defer f.Close()
	return parseLoginDefs(path, f)
}

func parseLoginDefs(path string, r io.Reader) (uidRange, error) {
	limits := defaultUIDs
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		var into *uint32
		switch fields[0] {
		case "UID_MIN":
			into = &limits.min
		case "UID_MAX":
			into = &limits.max
		default:
			continue
		}
		value, err := strconv.ParseUint(fields[1], 0, 32)
		if err != nil {
			return uidRange{}, fmt.Errorf("%s:%d: %s: expected a number, got %q", path, n, fields[0], fields[1])
		}
		*into = uint32(value)
	}
	if err := lines.Err(); err != nil {
		return uidRange{}, fmt.Errorf("read %s: %w", path, err)
	}
	return limits, nil
}
