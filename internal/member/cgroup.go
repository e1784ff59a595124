package member

import (
	"strconv"
	"strings"
)

// cgroupKind is what a place in systemd's tree of cgroups means.
type cgroupKind uint8

const (
	cgroupNone    cgroupKind = iota // the root, or unknown: a host without systemd
	cgroupLogin                     // session-N.scope, /xexit/login-N: one login
	cgroupManager                   // user@UID.service: shared by the user's logins
	cgroupSystem                    // a service of the system, or a container
	cgroupUser                      // elsewhere in user-UID.slice
	cgroupOther                     // a tree that is not systemd's
)

// cgroup is a path in the unified hierarchy, taken apart.
type cgroup struct {
	kind cgroupKind
	unit string // the unit that decided the kind
	uid  uint32 // of user-UID.slice
	// user: the path goes through user-UID.slice.
	user bool
	// Below a user's service manager: ownScope, in a scope of its own
	// (systemd-run --user --scope), not in a service; init: the manager itself.
	ownScope, init bool
}

// parseCgroup takes a path apart. The first component that says what it is
// counts: below user@UID.service a user can make any names he likes.
func parseCgroup(path string) cgroup {
	var c cgroup
	if id, ok := strings.CutPrefix(path, hookGroups); ok {
		id, _, _ = strings.Cut(id, "/")
		return cgroup{kind: cgroupLogin, unit: path[len("/xexit/") : len(hookGroups)+len(id)]}
	}
	for rest := path; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch {
		case part == "":
		case strings.HasPrefix(part, "session-") && strings.HasSuffix(part, ".scope"):
			c.kind, c.unit = cgroupLogin, part
			return c
		case strings.HasPrefix(part, "user@") && strings.HasSuffix(part, ".service"):
			c.kind, c.unit = cgroupManager, part
			first, _, _ := strings.Cut(rest, "/")
			c.init = first == "init.scope"
			c.ownScope = !c.init && inScope(rest)
			return c
		case part == "system.slice", part == "machine.slice", part == "init.scope", strings.HasSuffix(part, ".service"):
			c.kind, c.unit = cgroupSystem, lastPart(part, rest)
			return c
		case strings.HasPrefix(part, "user-") && strings.HasSuffix(part, ".slice"):
			uid, err := strconv.ParseUint(part[len("user-"):len(part)-len(".slice")], 10, 32)
			if err == nil {
				c.user, c.uid = true, uint32(uid)
			}
			c.kind, c.unit = cgroupUser, part
		case c.kind == cgroupNone:
			c.kind, c.unit = cgroupOther, part
		}
	}
	return c
}

// IsLoginCgroup reports whether a path is a login's, or below it.
func IsLoginCgroup(path string) bool { return parseCgroup(path).kind == cgroupLogin }

// inScope reports whether the innermost unit of a path is a scope.
func inScope(rest string) bool {
	scope := false
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch {
		case strings.HasSuffix(part, ".scope"):
			scope = true
		case strings.HasSuffix(part, ".service"):
			scope = false
		}
	}
	return scope
}

func lastPart(part, rest string) string {
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		rest = rest[i+1:]
	}
	if rest != "" {
		return rest
	}
	return part
}

// Within reports whether path is scope or below it.
func Within(path, scope string) bool {
	return scope != "" && scope != "/" && strings.HasPrefix(path, scope) &&
		(len(path) == len(scope) || path[len(scope)] == '/')
}
