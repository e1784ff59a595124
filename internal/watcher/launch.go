package watcher

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// watchedError: the display has a watcher already, which is as good as done.
type watchedError struct{ text string }

func (e *watchedError) Error() string { return e.text }

// launchPatience is how long the launcher waits for the resident watcher's
// first word: a login waits for nothing longer. What comes later goes to the log.
const launchPatience = 800 * time.Millisecond

// residentFlag marks the re-executed watcher; its display follows, for ps(1).
const residentFlag = "--resident"

// Watch is the verb `watch`; args exclude the verb. It returns the exit status.
func Watch(args []string, w World) int {
	if len(args) > 0 && args[0] == residentFlag {
		return residentMain(w)
	}
	o, err := parseFlags(verbWatch, args)
	if errors.Is(err, errHelp) {
		fmt.Fprint(w.Stdout, watchHelp)
		return exitDone
	}
	status := exitDone
	if err == nil {
		status, err = launch(o, w, thisHost())
	}
	if err == nil {
		return status
	}
	w.complain(err)
	return statusOf(err)
}

// statusOf is the exit status that goes with an error.
func statusOf(err error) int {
	var watched *watchedError
	var usage *usageError
	switch {
	case errors.As(err, &watched):
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailed
}

func launch(o options, w World, h host) (int, error) {
	l, err := prepare(o, w, h)
	if err != nil {
		return exitFailed, err
	}
	defer l.close()
	if o.foreground {
		return l.foreground(w)
	}
	return exitDone, l.detach()
}

// launcher is a job with the descriptors that go with it.
type launcher struct {
	job
	exe     string
	environ []string
	leader  *linux.PidFD // nil: unknown
}

func (l *launcher) close() {
	if l.leader != nil {
		_ = l.leader.Close()
	}
}

// prepare checks what can be refused at once and gathers what is known of the
// session. Its errors are the caller's to mend.
func prepare(o options, w World, h host) (*launcher, error) {
	l := &launcher{exe: w.Exe, environ: w.Environ}
	l.home, l.ssh, l.timing = w.getenv("HOME"), w.getenv("SSH_CONNECTION"), o.timing
	var err error
	if l.place, err = w.place(&o, h); err != nil {
		return nil, err
	}
	if l.display == "" {
		return nil, usagef("DISPLAY is not set, nor is WAYLAND_DISPLAY: there is no display to watch (start this within a session, or name one with --display :N)")
	}
	if path := w.getenv("XAUTHORITY"); path != "" {
		full, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("XAUTHORITY: %w", err)
		}
		l.authority = full
	}
	var noMain error
	l.mainPath, noMain = FindMain(w.Exe)
	if err := l.choose(o.command, w.getenv("PATH")); err != nil {
		return nil, err
	}
	if l.program.builtin {
		if noMain != nil {
			return nil, usagef("%v", noMain)
		}
		if err := h.mayEnd(os.Getuid(), os.Geteuid()); err != nil {
			return nil, err
		}
	}
	if l.dir, err = registry.Dir(w.getenv, uint32(os.Getuid())); err != nil {
		return nil, usagef("%v", err)
	}
	return l, l.describe(o, w, h)
}

// choose settles what is to be run.
func (l *launcher) choose(command []string, path string) error {
	if len(command) == 0 {
		l.program.builtin = true
		return nil
	}
	full, err := FindProgram(command[0], path)
	if err != nil {
		return usagef("%v", err)
	}
	if args, yes := builtin(l.exe, l.mainPath, full, command); yes {
		l.program = program{builtin: true, argv: args}
		return nil
	}
	l.program = program{path: full, argv: command}
	return nil
}

// mayEnd refuses whose processes are not told apart by user: root's and the
// system's.
func (h host) mayEnd(uid, euid int) error {
	if uid == 0 || euid == 0 {
		return usagef("root's session is not ended by watching a display (run this as the session's user, or use: xexit session -- CMD)")
	}
	first, err := h.uidMin()
	if err != nil {
		return usagef("%v", err)
	}
	if uint32(uid) < first || uint32(euid) < first {
		return usagef("uid %d is a system user (UID_MIN is %d): its session is not ended by watching a display (use: xexit session -- CMD)", uid, first)
	}
	return nil
}

// describe fills in the session's entry.
func (l *launcher) describe(o options, w World, h host) error {
	own, err := linux.Birth(os.Getpid())
	if err != nil {
		return err
	}
	e := &l.entry
	e.UID, e.Start = uint32(os.Getuid()), own
	e.Display, e.Wayland = session.CanonicalDisplay(l.display), l.wayland
	if id, err := session.ParseID(w.getenv(session.MarkerName)); err == nil {
		e.ID, e.Marked = id, true
	} else if e.ID, err = h.freshID(); err != nil {
		return err
	}
	if err := l.findLeader(o, w, h); err != nil {
		return err
	}
	l.findLogin(o, w, h)
	return nil
}

// findLogin says what tells the session's processes besides its id: the login
// that it is in, and the markers of that.
func (l *launcher) findLogin(o options, w World, h host) {
	e, own := &l.entry, h.login("self")
	in, names, owns := own, session.AmbientMarkers(), w.getenv(ownsVar) == "1" && own.audit != session.NoAudit
	if l.wayland {
		pid := compositor(l.display)
		a := h.on(pid, own, e.UID)
		in, names, owns = a.login, l.marks(a.names, w.getenv(waylandVar), e.UID), a.owns
		if born, err := linux.Birth(pid); a.known && err == nil && e.Leader.IsZero() {
			e.Start = min(e.Start, born) // the session is as old as its compositor
		}
	} else {
		owns = owns || h.graphical(w.getenv("XDG_SESSION_ID"), e.Display, e.UID, own)
	}
	e.Audit, e.Scope, e.OwnsLogin = in.audit, in.scope, o.ownsLogin || owns
	environ := w.Environ
	if o.display != "" {
		environ = append(environ[:len(environ):len(environ)], displayVar+"="+o.display)
	}
	if o.wayland != "" {
		environ = append(environ[:len(environ):len(environ)], waylandVar+"="+o.wayland)
	}
	e.Markers = o.marked(environ, names)
}

func (l *launcher) findLeader(o options, w World, h host) error {
	pid, asked := o.leader, o.leader != 0
	if !asked {
		var fromEnv options
		if text := w.getenv(leaderVar); text == "" || fromEnv.setLeader(text) != nil {
			return nil
		}
		pid = fromEnv.leader
	}
	ref, id, err := h.leader(pid, l.entry.UID)
	if err != nil {
		if asked {
			return usagef("--leader: %v", err)
		}
		return nil // a stale variable is no reason not to watch
	}
	l.leader, l.entry.Leader, l.entry.Start, l.hasLeader = ref, id, id.Start, true
	return nil
}

// detach starts the resident watcher and waits for its first word.
func (l *launcher) detach() error {
	jobFile, err := memFile("xexit-job", l.encode())
	if err != nil {
		return err
	}
	defer func() { _ = jobFile.Close() }()
	environ, err := memFile("xexit-environ", encodeEnviron(l.environ))
	if err != nil {
		return err
	}
	defer func() { _ = environ.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("start watcher: %w", err)
	}
	defer func() { _ = null.Close() }()
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start watcher: %w", err)
	}
	defer func() { _ = ready.Close() }()

	files := []*os.File{null, null, null, jobFile, environ, readyEnd}
	if l.leader != nil {
		leader := os.NewFile(uintptr(l.leader.FD()), "leader")
		l.leader = nil // leader closes it now
		defer func() { _ = leader.Close() }()
		files = append(files, leader)
	}
	if err := linux.CloseOnExecFrom(fdJob); err != nil {
		return fmt.Errorf("start watcher: %w", err)
	}
	resident, err := spawn("/proc/self/exe", []string{"xexit", verbWatch, residentFlag, l.display}, residentEnviron(), files)
	_ = readyEnd.Close()
	if err != nil {
		return fmt.Errorf("start watcher: %w", err)
	}
	_ = resident.Release()
	return firstWord(ready)
}

// residentEnviron is all that the watcher's own environment has. Nothing of
// the session's is in it: scripts find 'their' processes by searching
// environments, and the watcher must not be among them. One processor is
// enough to wait, and saves memory (runtime(3) of Go: each has caches).
func residentEnviron() []string { return []string{"GOMAXPROCS=1"} }

func memFile(name string, content []byte) (*os.File, error) {
	f, err := linux.MemFile(name)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(content); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// The first word of a resident watcher: one line, the word and its text.
const (
	wordReady   = "ready"
	wordRetry   = "retry"   // the display does not answer yet; it keeps trying
	wordWatched = "watched" // by another; it has left
	wordRefused = "refused" // the caller's to mend; it has left
	wordFailed  = "failed"
)

// firstWord waits for it, for at most launchPatience: no answer yet is no
// error, the watcher goes on by itself.
func firstWord(ready *os.File) error {
	_ = ready.SetReadDeadline(time.Now().Add(launchPatience))
	line, err := bufio.NewReader(ready).ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	word, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	switch word {
	case wordReady:
		reporter{socket: devLog, now: time.Now}.notef("%s", text)
		return nil
	case wordRetry:
		return nil
	case wordWatched:
		return &watchedError{text}
	case wordRefused:
		return &usageError{text}
	case wordFailed:
		return errors.New(text)
	}
	return errors.New("the watcher ended before it had started (out of memory or of processes?)")
}
