package gather

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"xexit/internal/doctor"
	"xexit/internal/member"
	"xexit/internal/session"
)

// login is what the kernel and logind say of this process's login.
func (g *gatherer) login(uid uint32) doctor.Login {
	l := doctor.Login{Audit: session.NoAudit}
	if audit, err := g.proc.Audit(os.Getpid()); err == nil {
		l.Audit = audit
	}
	if cgroup, err := g.proc.Cgroup(os.Getpid()); err == nil {
		l.Scope, l.UserUnit = units(cgroup)
	}
	logins, _ := member.ReadLogins(g.Root, uid) // what could not be read is not known
	l.Logind, l.Lingers = logins.Known, logins.Lingers
	l.KillsFrom, l.KillUnsure = killsLogins(g.Root)
	return l
}

// units finds the login's scope in a cgroup's path, or what the process is in
// below the user's service manager.
func units(cgroup string) (scope, userUnit string) {
	below := false
	for part := range strings.SplitSeq(cgroup, "/") {
		switch {
		case strings.HasPrefix(part, "session-") && strings.HasSuffix(part, ".scope"):
			return part, ""
		case strings.HasPrefix(part, "user@") && strings.HasSuffix(part, ".service"):
			below = true
		case below && part != "":
			userUnit = part
		}
	}
	return "", userUnit
}

// killsLogins finds the file that turns KillUserProcesses on (logind.conf(5)):
// one main file, then all drop-ins by name; of files of one name only the first
// directory's is read, and the last word counts.
func killsLogins(root fs.FS) (from, unsure string) {
	dirs := []string{"etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd"}
	var files []string
	for _, dir := range dirs {
		if _, err := fs.Stat(root, dir+"/logind.conf"); err == nil {
			files = append(files, dir+"/logind.conf")
			break
		}
	}
	dropIns := map[string]string{}
	var names []string
	for _, dir := range dirs {
		entries, err := fs.ReadDir(root, dir+"/logind.conf.d")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			unsure = "/" + dir + "/logind.conf.d"
		}
		for _, e := range entries {
			if name := e.Name(); strings.HasSuffix(name, ".conf") && dropIns[name] == "" {
				dropIns[name] = path.Join(dir, "logind.conf.d", name)
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		files = append(files, dropIns[name])
	}
	for _, name := range files {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			unsure = "/" + name
			continue
		}
		if value, said := killValue(string(text)); said && value {
			from = "/" + name
		} else if said {
			from = ""
		}
	}
	return from, unsure
}

// killValue reads one file in the form of systemd.syntax(7).
func killValue(text string) (value, said bool) {
	section := ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, word, ok := strings.Cut(line, "=")
		if !ok || section != "[Login]" || strings.TrimSpace(key) != "KillUserProcesses" {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "1", "yes", "y", "true", "t", "on":
			value, said = true, true
		case "0", "no", "n", "false", "f", "off":
			value, said = false, true
		}
	}
	return value, said
}
