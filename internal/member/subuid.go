package member

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// SubUIDs reads the uids that are delegated to a user from etc/subuid below
// root (subuid(5)), by his name or his uid. Without the file there are none.
// Ranges that reach into the uids of ordinary users are left out: a process of
// theirs would be taken for the user's.
func SubUIDs(root fs.FS, name string, uid uint32) ([]UIDRange, error) {
	data, err := fs.ReadFile(root, "etc/subuid")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("read subuid: %w", err)
	}
	var ranges []UIDRange
	for line := range strings.SplitSeq(string(data), "\n") {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) != 3 || fields[0] != name && fields[0] != strconv.FormatUint(uint64(uid), 10) || fields[0] == "" {
			continue
		}
		first, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 != nil || err2 != nil || first < firstSubUID || first+count > 1<<32-1 {
			continue
		}
		ranges = append(ranges, UIDRange{uint32(first), uint32(count)})
	}
	return ranges, nil
}

// firstSubUID is above the uids that login.defs(5) gives to people
// (SUB_UID_MIN is 100000, UID_MAX 60000, and 65534 is nobody).
const firstSubUID = 65536
