package pamlogin

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

	"xexit/internal/cgroup"
	"xexit/internal/linux"
	"xexit/internal/proc"
)

// patience bounds a call: a login waits for it.
const patience = 5 * time.Second

// Main is the PAM hook. Whatever happens, the login goes on: it returns 0,
// and soon. What went wrong is in the system's log. args are those of
// pam_exec(8)'s line: class=NAME.
func Main(args []string) int {
	// Not os.Environ: of a name that is there twice it has only the first.
	environ, unread := os.ReadFile("/proc/self/environ")
	env := func(name string) string { return lookup(string(environ), name) }
	log := func(priority int, err error) {
		text := fmt.Sprintf("%s for %s (%s): %v", env("PAM_TYPE"), env("PAM_USER"), env("PAM_SERVICE"), err)
		_ = linux.SendDatagram("/dev/log", fmt.Appendf(nil, "<%d>xexit-pam[%d]: %s", authpriv|priority, os.Getpid(), strconv.QuoteToGraphic(text)))
	}
	// A user's own call, as some PAM stacks make it, changes nothing.
	if os.Geteuid() != 0 {
		return 0
	}
	if unread != nil {
		log(warning, unread)
		return 0
	}
	done := make(chan error, 1)
	h := &hook{root: "/", env: env, worker: os.Getppid(), class: "user", lookUp: uidOf}
	go func() { done <- h.main(args) }()
	select {
	case err := <-done:
		if err != nil {
			log(warning, err)
		}
		for _, text := range h.notable {
			log(notice, errors.New(text))
		}
	case <-time.After(patience):
		log(warning, fmt.Errorf("not done after %s: the login may not be known to xexit", patience))
	}
	return 0
}

// Of syslog(3).
const (
	authpriv = 10 << 3
	warning  = 4
	notice   = 5
)

// errOption reports an argument that is none.
var errOption = errors.New("expected class=NAME")

func (h *hook) main(args []string) (err error) {
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		if name != "class" || plain(value) == "" {
			return fmt.Errorf("argument %q: %w", arg, errOption)
		}
		h.class = value
	}
	if h.worker <= 1 {
		return errors.New("the PAM worker is gone")
	}
	if h.proc, err = proc.New("/proc"); err != nil {
		return err
	}
	defer h.proc.Close()
	h.tree, err = cgroup.Mounted("/proc")
	if err != nil {
		return fmt.Errorf("without control groups nobody can be told from anybody: %w", err)
	}
	return h.run()
}

// lookup is getenv(3), but of a name that is there twice the last one counts:
// pam_exec(8) appends its own to what a user may have put (pam_env(8),
// user_readenv).
func lookup(environ, name string) string {
	value := ""
	for entry := range strings.SplitSeq(environ, "\x00") {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// uidOf finds a user in passwd(5), or where a directory service has him by
// getent(1).
func uidOf(name string) (uint32, error) {
	text := ""
	if u, err := user.Lookup(name); err == nil {
		text = u.Uid
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), patience*3/4)
		defer cancel()
		cmd := exec.CommandContext(ctx, "/usr/bin/getent", "passwd", "--", name)
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		line, err := cmd.Output()
		fields := strings.Split(string(line), ":")
		if err != nil || len(fields) < 3 || fields[0] != name {
			return 0, fmt.Errorf("user %q is not known: %w", name, errors.Join(err, errNoUser))
		}
		text = fields[2]
	}
	uid, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("uid of user %q: %w", name, err)
	}
	return uint32(uid), nil
}

var errNoUser = errors.New("getent has no such entry")
