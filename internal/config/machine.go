package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"
)

// machine is what a rule is resolved against: users, groups, and whose files
// count as safe.
type machine struct {
	owner  uint32 // of programs and of every directory above them: root
	above  string // this directory and those above it are taken to be safe; "": none is
	user   func(name string) (uid uint32, err error)
	group  func(name string) (gid uint32, err error)
	groups func(uid uint32) (gids []uint32, err error)
}

// errNobody says that a user or group does not exist, as against a lookup that
// failed.
var errNobody = errors.New("not known on this machine")

// thisMachine asks the system's user database.
func thisMachine() machine {
	return machine{user: lookupUser, group: lookupGroup, groups: lookupGroups}
}

// lookupUser takes a name, or a number that is no name.
func lookupUser(name string) (uint32, error) {
	if u, err := user.Lookup(name); err == nil {
		return parseID(u.Uid)
	}
	return getent("passwd", name)
}

func lookupGroup(name string) (uint32, error) {
	if g, err := user.LookupGroup(name); err == nil {
		return parseID(g.Gid)
	}
	return getent("group", name)
}

func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err
}

// lookupPatience is how long a directory service may take over one question.
const lookupPatience = 3 * time.Second

// getent asks nsswitch.conf(5)'s sources, LDAP and the like included, which a
// binary without cgo reads nothing of (os/user).
func getent(database, name string) (uint32, error) {
	line, err := run("getent", "--", database, name)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 { // getent(1): key not found
		if id, err := parseID(name); err == nil {
			return id, nil
		}
		return 0, errNobody
	}
	if err != nil {
		return 0, fmt.Errorf("look up %s %q: %w", database, name, err)
	}
	fields := strings.Split(line, ":")
	if len(fields) < 3 {
		return 0, fmt.Errorf("look up %s %q: getent answered %q", database, name, line)
	}
	return parseID(fields[2])
}

// lookupGroups are the groups of a user: for the caller those of the process,
// which nobody can make up; for others what the database says (id(1)).
func lookupGroups(uid uint32) ([]uint32, error) {
	var gids []uint32
	if uid == uint32(os.Getuid()) {
		own, err := os.Getgroups()
		if err != nil {
			return nil, fmt.Errorf("own groups: %w", err)
		}
		for _, gid := range append(own, os.Getgid()) {
			gids = append(gids, uint32(gid))
		}
		return gids, nil
	}
	text, err := run("id", "-G", "--", strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil, fmt.Errorf("groups of uid %d: %w", uid, err)
	}
	for word := range strings.FieldsSeq(text) {
		gid, err := parseID(word)
		if err != nil {
			return nil, fmt.Errorf("groups of uid %d: id answered %q", uid, text)
		}
		gids = append(gids, gid)
	}
	return gids, nil
}

// run gives the output of one of the system's own programs, found without the
// caller's PATH.
func run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/"+name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{"LC_ALL=C"}, time.Second
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("%s did not answer within %s", name, lookupPatience)
	}
	return strings.TrimSpace(string(out)), err
}
