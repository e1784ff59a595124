package conflict

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Where PAM has its stacks, a file a service; the first one that has it counts
// (pam.d(5)).
var pamDirs = []string{"etc/pam.d", "usr/lib/pam.d"}

// module is one line of a session stack.
type module struct {
	name string // "pam_systemd.so", without its directory
	args string
}

// stacks is the session stack of each service.
type stacks map[string][]module

// readStacks reads the session stacks of all services that can open a login. A
// file that cannot be read is in the error, and what could be read is returned.
func readStacks(root fs.FS) (stacks, error) {
	found := stacks{}
	var errs []error
	for _, dir := range pamDirs {
		entries, err := fs.ReadDir(root, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			name := e.Name()
			if _, known := found[name]; known || e.IsDir() || noService(name) {
				continue
			}
			stack, err := readStack(root, name, 0)
			if err != nil {
				errs = append(errs, fmt.Errorf("PAM service %s: %w", name, err))
			}
			found[name] = stack
		}
	}
	return found, errors.Join(errs...)
}

// maxInclude bounds files that include each other.
const maxInclude = 16

func readStack(root fs.FS, service string, depth int) (stack []module, err error) {
	if depth > maxInclude {
		return nil, errors.New("files that include each other")
	}
	var text []byte
	for _, dir := range pamDirs {
		if text, err = fs.ReadFile(root, path.Join(dir, service)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", " "), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "@include"); ok {
			more, err := readStack(root, path.Base(strings.TrimSpace(name)), depth+1)
			if err != nil {
				return stack, err
			}
			stack = append(stack, more...)
			continue
		}
		control, what, args, ok := sessionLine(line)
		if !ok {
			continue
		}
		if control != "include" && control != "substack" {
			stack = append(stack, module{path.Base(what), args})
			continue
		}
		more, err := readStack(root, path.Base(what), depth+1)
		if err != nil {
			return stack, err
		}
		stack = append(stack, more...)
	}
	return stack, nil
}

// sessionLine takes a line of the type session apart.
func sessionLine(line string) (control, what, args string, ok bool) {
	kind, rest := word(line)
	if strings.TrimPrefix(kind, "-") != "session" {
		return "", "", "", false
	}
	if strings.HasPrefix(rest, "[") { // [success=ok default=ignore]
		control, rest, ok = strings.Cut(rest, "]")
		if !ok {
			return "", "", "", false
		}
	} else {
		control, rest = word(rest)
	}
	what, args = word(rest)
	return control, what, args, what != ""
}

// word takes the first word off.
func word(text string) (first, rest string) {
	text = strings.TrimSpace(text)
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		return text, ""
	}
	return text[:end], strings.TrimSpace(text[end:])
}

// noService: files that others include, and services that open no login of
// their own: they change to another user within one, start something by the
// clock, or show who can log in.
func noService(name string) bool {
	switch name {
	case "su", "su-l", "sudo", "sudo-i", "runuser", "runuser-l", "polkit-1", "doas", "newgrp", "sg",
		"cron", "crond", "atd", "anacron", "systemd-user", "other", "config-util", "postlogin",
		"gdm-launch-environment", "passwd", "chfn", "chsh", "chpasswd", "newusers":
		return true
	}
	return strings.HasPrefix(name, "common-") || strings.HasSuffix(name, "-auth") || strings.HasSuffix(name, "-greeter") ||
		strings.ContainsAny(name, ".~")
}

// unmarked are services that open logins and give them no audit id.
func (s stacks) unmarked() []string {
	return s.those(func(stack []module) bool {
		return slices.ContainsFunc(stack, module.opens) &&
			!slices.ContainsFunc(stack, func(m module) bool { return m.name == "pam_loginuid.so" })
	})
}

// hooked are services that call the PAM hook.
func (s stacks) hooked() []string {
	return s.those(func(stack []module) bool { return slices.ContainsFunc(stack, module.isHook) })
}

func (s stacks) those(which func([]module) bool) (names []string) {
	for name, stack := range s {
		if which(stack) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (m module) opens() bool {
	return m.name == "pam_systemd.so" || m.name == "pam_elogind.so" || m.isHook()
}

func (m module) isHook() bool {
	return m.name == "pam_exec.so" && strings.Contains(m.args, "pam-session") && strings.Contains(m.args, "xexit")
}
