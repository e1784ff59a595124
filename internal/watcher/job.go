package watcher

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// job is everything that the resident watcher is told by its launcher. The
// session's environment comes beside it, in a file of its own that is not read
// before it is needed.
type job struct {
	entry registry.Entry // Watcher is not set yet
	dir   string         // runtime directory
	place
	authority string // XAUTHORITY, absolute; "" if unset
	ssh       string // SSH_CONNECTION
	home      string
	timing    timing
	program   program
	mainPath  string // xexit-main; "" if there is none
	hasLeader bool   // descriptor fdLeader is a pidfd of entry.Leader
}

// program is what to run when the display is gone.
type program struct {
	builtin bool     // `xexit end` with argv as further arguments
	path    string   // absolute; "" for builtin
	argv    []string // as typed
}

// The descriptors that the resident watcher starts with, besides /dev/null.
const (
	fdJob = 3 + iota
	fdEnviron
	fdReady
	fdLeader // only if job.hasLeader
)

const jobVersion = "1"

// encode writes j as NUL-terminated KEY=VALUE words, which is all that paths
// and environments cannot contain.
func (j *job) encode() []byte {
	var b strings.Builder
	put := func(key, value string) {
		b.WriteString(key)
		b.WriteByte('=')
		b.WriteString(value)
		b.WriteByte(0)
	}
	flag := func(key string, set bool) {
		if set {
			put(key, "1")
		}
	}
	put("version", jobVersion)
	put("id", string(j.entry.ID))
	flag("marked", j.entry.Marked)
	for _, m := range j.entry.Markers {
		put("marker", m.Name+"="+m.Value)
	}
	put("audit", strconv.FormatUint(uint64(j.entry.Audit), 10))
	put("scope", j.entry.Scope)
	flag("owns-login", j.entry.OwnsLogin)
	put("leader-pid", strconv.Itoa(j.entry.Leader.PID))
	put("leader-start", strconv.FormatUint(j.entry.Leader.Start, 10))
	put("start", strconv.FormatUint(j.entry.Start, 10))
	put("uid", strconv.FormatUint(uint64(j.entry.UID), 10))
	put("dir", j.dir)
	put("display", j.display)
	flag("wayland", j.wayland)
	put("authority", j.authority)
	put("ssh", j.ssh)
	put("home", j.home)
	put("interval", j.timing.interval.String())
	put("lost-after", j.timing.lostAfter.String())
	put("blind-after", j.timing.blindAfter.String())
	put("hung-after", j.timing.hungAfter.String())
	flag("builtin", j.program.builtin)
	put("path", j.program.path)
	for _, arg := range j.program.argv {
		put("arg", arg)
	}
	put("main", j.mainPath)
	flag("has-leader", j.hasLeader)
	return []byte(b.String())
}

// decodeJob reads what encode wrote. Both ends are one binary, so anything
// unexpected is an error.
func decodeJob(text string) (j job, err error) {
	text, ok := strings.CutPrefix(text, "version="+jobVersion+"\x00")
	if !ok {
		return j, fmt.Errorf("read job: not of this version")
	}
	for word := range strings.SplitSeq(strings.TrimSuffix(text, "\x00"), "\x00") {
		key, value, _ := strings.Cut(word, "=")
		if err := j.set(key, value); err != nil {
			return j, fmt.Errorf("read job: %s: %w", key, err)
		}
	}
	j.entry.Display = session.CanonicalDisplay(j.display)
	return j, nil
}

func (j *job) set(key, value string) (err error) {
	var n uint64
	switch key {
	case "id":
		j.entry.ID = session.ID(value)
	case "marked":
		j.entry.Marked = true
	case "marker":
		name, content, _ := strings.Cut(value, "=")
		j.entry.Markers = append(j.entry.Markers, session.Marker{Name: name, Value: content})
	case "audit":
		n, err = strconv.ParseUint(value, 10, 32)
		j.entry.Audit = uint32(n)
	case "scope":
		j.entry.Scope = value
	case "owns-login":
		j.entry.OwnsLogin = true
	case "leader-pid":
		j.entry.Leader.PID, err = strconv.Atoi(value)
	case "leader-start":
		j.entry.Leader.Start, err = strconv.ParseUint(value, 10, 64)
	case "start":
		j.entry.Start, err = strconv.ParseUint(value, 10, 64)
	case "uid":
		n, err = strconv.ParseUint(value, 10, 32)
		j.entry.UID = uint32(n)
	default:
		return j.setRest(key, value)
	}
	return err
}

func (j *job) setRest(key, value string) (err error) {
	switch key {
	case "dir":
		j.dir = value
	case "display":
		j.display = value
	case "wayland":
		j.wayland, j.entry.Wayland = true, true
	case "authority":
		j.authority = value
	case "ssh":
		j.ssh = value
	case "home":
		j.home = value
	case "interval":
		j.timing.interval, err = time.ParseDuration(value)
	case "lost-after":
		j.timing.lostAfter, err = time.ParseDuration(value)
	case "blind-after":
		j.timing.blindAfter, err = time.ParseDuration(value)
	case "hung-after":
		j.timing.hungAfter, err = time.ParseDuration(value)
	case "builtin":
		j.program.builtin = true
	case "path":
		j.program.path = value
	case "arg":
		j.program.argv = append(j.program.argv, value)
	case "main":
		j.mainPath = value
	case "has-leader":
		j.hasLeader = true
	default:
		return fmt.Errorf("unknown key")
	}
	return err
}

// encodeEnviron and readEnviron carry an environment as execve(2) lays it out.
func encodeEnviron(environ []string) []byte {
	var b strings.Builder
	for _, entry := range environ {
		b.WriteString(entry)
		b.WriteByte(0)
	}
	return []byte(b.String())
}

func readEnviron(f *os.File) ([]string, error) {
	text, err := readAll(f)
	if err != nil {
		return nil, fmt.Errorf("read the session's environment: %w", err)
	}
	if text == "" {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(text, "\x00"), "\x00"), nil
}

// readAll reads a file from its beginning, wherever its offset is.
func readAll(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(io.NewSectionReader(f, 0, info.Size()), b)
	return string(b), err
}
