package ending

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is a user as the name service knows him, for what root runs as him.
type account struct {
	syscall.Credential
	name, home, shell string
}

// accountPatience bounds the name service, which may ask a directory over the
// network.
const accountPatience = 5 * time.Second

// account looks a user up with getent(1) and id(1), which ask what
// nsswitch.conf(5) names; Go's own look-up reads /etc/passwd alone.
func (h Host) account(ctx context.Context, uid uint32) (account, error) {
	ctx, cancel := context.WithTimeout(ctx, accountPatience)
	defer cancel()
	number := strconv.FormatUint(uint64(uid), 10)
	line, err := ask(ctx, "getent", "passwd", number)
	if err != nil {
		return account{}, fmt.Errorf("look up user %s: %w", number, err)
	}
	// name:password:uid:gid:comment:home:shell (passwd(5))
	f := strings.Split(line, ":")
	if len(f) != 7 || f[2] != number {
		return account{}, fmt.Errorf("look up user %s: unexpected answer", number)
	}
	u := account{name: f[0], home: f[5], shell: f[6]}
	u.Uid = uid
	if u.Gid, err = id(f[3]); err != nil {
		return account{}, fmt.Errorf("look up user %s: %w", number, err)
	}
	groups, err := ask(ctx, "id", "-G", "--", u.name)
	if err != nil {
		return account{}, fmt.Errorf("look up the groups of %s: %w", u.name, err)
	}
	for _, text := range strings.Fields(groups) {
		g, err := id(text)
		if err != nil {
			return account{}, fmt.Errorf("look up the groups of %s: %w", u.name, err)
		}
		u.Groups = append(u.Groups, g)
	}
	return u, nil
}

func ask(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "/usr/bin/"+name, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: exit status %d", name, exit.ExitCode())
	}
	return strings.TrimSpace(string(out)), err
}

func id(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

// environ is what a login gives to its programs, as far as it can be known
// from outside: what one of its processes has in its environment is that
// process's own saying.
func (u *account) environ(t *target) []string {
	return append(t.environ(), "HOME="+u.home, "SHELL="+u.shell, "USER="+u.name, "LOGNAME="+u.name)
}

// environ is the part of it that does not come from the user database.
func (t *target) environ() []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "XDG_SESSION_ID=" + t.login,
		fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", t.entry.UID),
	}
	if display := only(t.entry.Display, displaySigns); display != "" {
		env = append(env, "DISPLAY="+display)
	}
	return env
}
