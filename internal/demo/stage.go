package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/history"
	"xexit/internal/proc"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// stage is the private directory in which everything of the demo lies.
type stage struct {
	dir      string
	config   string
	progress string // FIFO
	environ  []string
}

const hookText = `# A fragment, as a site has them in /etc/Xexit.d; it runs before anybody is ended.
echo "good-bye, $XEXIT_REASON"
`

func newStage(o Options) (s *stage, err error) {
	base := os.TempDir()
	const longest = 64 // a socket's whole name must be shorter than 108 (unix(7))
	if len(base) > longest {
		base = "/tmp"
	}
	s = &stage{}
	if s.dir, err = os.MkdirTemp(base, "xexit-demo-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	for _, name := range []string{"run", "state", "hooks", "A", "B"} {
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	s.config = filepath.Join(s.dir, "xexit.toml")
	text := fmt.Sprintf("grace = %q\n[hooks]\ndir = %q\n[log]\nsyslog = false\n", o.Grace, filepath.Join(s.dir, "hooks"))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "hooks", "10-good-bye"), []byte(hookText), 0o600); err != nil {
		return nil, err
	}
	s.progress = filepath.Join(s.dir, "progress")
	if err := syscall.Mkfifo(s.progress, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: s.progress, Err: err}
	}
	// Nothing of the environment around: it may be that of a real session.
	s.environ = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + s.dir, "USER=" + o.User, "LOGNAME=" + o.User,
		"XDG_RUNTIME_DIR=" + filepath.Join(s.dir, "run"), "XDG_STATE_HOME=" + filepath.Join(s.dir, "state"),
	}
	return s, nil
}

func (s *stage) remove() error { return os.RemoveAll(s.dir) }

// record is the history's word on the end of a session.
func (s *stage) record(id session.ID) (history.Record, error) {
	host, _ := os.Hostname()
	records, _, err := history.Read(history.StateFile(filepath.Join(s.dir, "state", "xexit"), host),
		history.RuntimeFile(filepath.Join(s.dir, "run", "xexit")))
	for _, r := range records {
		if r.Session == id && r.Event == history.Done {
			return r, nil
		}
	}
	return history.Record{}, errors.Join(err, errors.New("its end is not on record"))
}

// watching reports whether xexit still watches the session.
func (s *stage) watching(id session.ID) bool {
	r, err := registry.Open(filepath.Join(s.dir, "run", "xexit"))
	if err != nil {
		return false
	}
	l, err := r.Find(id)
	return err == nil && l.Live && l.Phase == session.PhaseWatching
}

// member is one process of a session as it was before the cable was pulled.
type member struct {
	kind kind
	stat proc.Stat
}

// act is one session and its display.
type act struct {
	name    string // A or B
	server  *displaytest.Server
	log     string // what `xexit session` and `xexit end` said
	pid     int    // of `xexit session`
	ended   <-chan struct{}
	id      session.ID
	members []member
}

// raise starts a display and a session on it, and returns when all of the
// session's processes are what they are to be and xexit watches the display.
func (d *demo) raise(ctx context.Context, name string, flags ...string) (*act, error) {
	a := &act{name: name, log: filepath.Join(d.stage.dir, name+".log")}
	var err error
	if a.server, err = displaytest.Start(filepath.Join(d.stage.dir, name)); err != nil {
		return nil, err
	}
	d.acts = append(d.acts, a)
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	argv := append([]string{d.Small, "session", "--config", d.stage.config}, flags...)
	argv = append(argv, "--", d.Self, RoleVerb, "leader")
	environ := append([]string{"DISPLAY=" + a.server.Display()}, d.stage.environ...)
	a.pid, a.ended, err = d.children.start(argv, environ, []*os.File{null, write, log})
	_ = write.Close()
	if err != nil {
		return nil, fmt.Errorf("start xexit session: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = read.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := a.assemble(read, d.guard.fs); err != nil {
		return nil, a.explain(errors.Join(err, ctx.Err()))
	}
	return a, a.explain(a.watched(ctx))
}

// startPatience is for a machine that has other things to do.
const startPatience = 30 * time.Second

// assemble reads the announcements until everybody is there.
func (a *act) assemble(r io.Reader, fs *proc.FS) error {
	lines := bufio.NewScanner(r)
	for ready := false; !ready || len(a.members) < castSize() || a.id == ""; {
		if !lines.Scan() {
			return errors.Join(fmt.Errorf("session %s: %d of %d processes came up", a.name, len(a.members), castSize()), lines.Err())
		}
		word, value, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "session":
			id, err := session.ParseID(value)
			if err != nil {
				return err
			}
			a.id = id
			continue
		case "ready":
			ready = true
			continue
		}
		pid, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("session %s: announcement %q", a.name, lines.Text())
		}
		s, err := fs.Stat(pid)
		if err != nil {
			return err
		}
		k, ok := kindOf(s.Comm)
		if !ok {
			return fmt.Errorf("session %s: process %d is called %q", a.name, pid, s.Comm)
		}
		a.members = append(a.members, member{k, s})
	}
	// Once more: the stopped one is stopped only now, the daemon adopted.
	for i := range a.members {
		s, err := fs.Stat(a.members[i].stat.PID)
		if err != nil {
			return err
		}
		a.members[i].stat = s
	}
	return nil
}

// watched waits until xexit has left its token on the display: from then on it
// notices the display's end. The server has no events for what others do.
func (a *act) watched(ctx context.Context) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for a.server.RootProperty("XEXIT_GENERATION") == "" {
		select {
		case <-again.C:
		case <-a.ended:
			return fmt.Errorf("session %s ended before it had begun", a.name)
		case <-ctx.Done():
			return fmt.Errorf("session %s: xexit did not come to watch the display: %w", a.name, ctx.Err())
		}
	}
	return nil
}

// explain adds what the programs themselves said to an error.
func (a *act) explain(err error) error {
	if err == nil {
		return nil
	}
	said, _ := os.ReadFile(a.log)
	if text := strings.TrimSpace(string(said)); text != "" {
		err = fmt.Errorf("%w; it said: %s", err, text)
	}
	return err
}

// gone reports whether a process has ended; a number that is another's by now
// counts as that.
func gone(fs *proc.FS, id session.ProcID) bool {
	s, err := fs.Stat(id.PID)
	return errors.Is(err, proc.ErrGone) || err == nil && (s.ID() != id || s.Dead())
}
