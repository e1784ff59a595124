package linux

import (
	"os"
	"path"
	"slices"
	"strings"
)

// CgroupMounts says where a mount table has control groups (cgroups(7)), each
// hierarchy as a whole; "": nowhere.
type CgroupMounts struct {
	Unified string // version 2
	Systemd string // version 1: the hierarchy without controllers that systemd has its own
	Freezer string // version 1
}

// ReadCgroupMounts reads a mount table (proc_pid_mountinfo(5)). Where systemd's
// hierarchy of version 1 is mounted, version 2 counts only in its place or
// beside it: systemd puts processes into both then. Mounted elsewhere by
// somebody else, it has none of them.
func ReadCgroupMounts(mountinfo string) (m CgroupMounts, err error) {
	text, err := os.ReadFile(mountinfo)
	if err != nil {
		return m, err
	}
	var unified []string
	for line := range strings.SplitSeq(string(text), "\n") {
		mount, kind, ok := strings.Cut(line, " - ")
		fields, about := strings.Fields(mount), strings.Fields(kind)
		// A mount of part of the hierarchy names its groups from there.
		if !ok || len(fields) < 5 || len(about) < 3 || fields[3] != "/" {
			continue
		}
		place, options := unescape(fields[4]), strings.Split(about[2], ",")
		switch {
		case about[0] == "cgroup2":
			unified = append(unified, place)
		case about[0] != "cgroup":
		case slices.Contains(options, "name=systemd"):
			m.Systemd = place
		case slices.Contains(options, "freezer"):
			m.Freezer = place
		}
	}
	for _, place := range unified {
		above := path.Dir(m.Systemd)
		if m.Unified == "" && (m.Systemd == "" || place == above || path.Dir(place) == above) {
			m.Unified = place
		}
	}
	return m, nil
}

// unescape undoes the octal escapes of a mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
