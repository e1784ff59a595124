package daemon

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"xexit/internal/config"
	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/login"
	"xexit/internal/session"
)

// EndVerb is the hidden verb of xexit-main that carries out one end. It reads
// a request on its standard input and writes a line a step, and a last one
// with the result, to its standard output.
const EndVerb = "__end-login"

// request is what the end of a login needs to know: by then nobody else may
// know it any more. Its other half is ending.LoginRequest.
type request struct {
	V     int    `json:"v"`
	Login string `json:"login"`
	Boot  string `json:"boot"`
	login.Info
	Reason    session.Reason `json:"reason"`
	Noticed   string         `json:"noticed"`
	NoticedUS int64          `json:"noticed_us"`
	Record    string         `json:"record"` // the same for each attempt
	Session   session.ID     `json:"session"`
	AuditOnly bool           `json:"audit_only"`
	Config    *config.Config `json:"config"` // the one in force: the files may be another by now, or bad
}

// line is one that an end's process writes.
type line struct {
	Step   session.Step `json:"step"`
	Result *result      `json:"result"`
}

// result is what an end did, in the words of its process.
type result struct {
	Exit      int                `json:"exit"`
	Verified  bool               `json:"verified"`
	Ended     int                `json:"ended"`
	Kept      int                `json:"kept"`
	Spared    int                `json:"spared"`
	Survivors []history.Survivor `json:"survivors"`
	Problems  []string           `json:"problems"`
}

// end is a process that ends a login.
type end struct {
	young time.Duration // CLOCK_BOOTTIME; until then it counts against mostYoung
	step  session.Step  // the last that it took
	since time.Duration // CLOCK_BOOTTIME of that
	// As it was told: nobody is ended; what its steps may take.
	audit          bool
	grace, closing time.Duration
}

// endEvent is what is heard of an end: a step, or in the end how it went.
type endEvent struct {
	login  string
	step   session.Step
	over   bool
	result *result // nil: it died without a word
	err    error
}

// Ends do not wait for each other. Only when a whole house of users leaves at
// once are some started a little later, so that the machine bears it: no more
// than mostYoung at a time are younger than youth, however many hang.
const (
	mostYoung = 32
	youth     = 5 * time.Second
)

// pump starts the ends that are due.
func (d *Daemon) pump() {
	if len(d.queue) == 0 {
		return
	}
	now, young := d.now(), 0
	for _, e := range d.book {
		if e.end != nil && now < e.end.young {
			young++
		}
	}
	for len(d.queue) > 0 && young < mostYoung {
		id := d.queue[0]
		d.queue = d.queue[1:]
		e := d.book[id]
		if e == nil || e.end != nil || e.state.Phase != login.Ended {
			continue
		}
		if err := d.start(e); err != nil {
			d.log(e).Error("start the end", "error", err)
			d.tell(id, login.Fact{Kind: login.Lost})
			continue
		}
		young++
		d.tell(id, login.Fact{Kind: login.Started})
	}
}

func (d *Daemon) running() (n int) {
	for _, e := range d.book {
		if e.end != nil {
			n++
		}
	}
	return n
}

// start starts the process that ends a login. It outlives this one if need be:
// whoever starts another finds its claim.
func (d *Daemon) start(e *entry) error {
	s := &e.state
	text, err := d.requestFor(s)
	if err != nil {
		return err
	}
	cmd := exec.Command(d.o.Self, EndVerb)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}, faultEnv(d.o.Dir)...)
	cmd.Dir, cmd.Stderr = "/", d.o.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdin.Close())
	}
	cmd.Stdout = stdout
	err = cmd.Start()
	_ = stdout.Close() // the process has it
	if err != nil {
		return errors.Join(err, stdin.Close(), out.Close())
	}
	now := d.now()
	e.end = &end{
		young: now + youth, since: now,
		audit: d.config.Daemon.AuditOnly, grace: d.config.Grace, closing: d.config.PAMClose,
	}
	go d.attend(s.ID, cmd, text, stdin, out)
	return nil
}

// requestFor is the line that says which login is meant, and how.
func (d *Daemon) requestFor(s *login.State) ([]byte, error) {
	text, err := json.Marshal(request{
		V: 1, Login: s.ID, Boot: s.Boot, Info: s.Info,
		Reason: s.Reason, Noticed: s.Noticed, NoticedUS: s.After.Microseconds(),
		Record: s.Record, Session: s.Session, AuditOnly: d.config.Daemon.AuditOnly, Config: &d.config,
	})
	return append(text, '\n'), err
}

// attend gives an end's process its request and passes on what it says, until
// it is dead.
func (d *Daemon) attend(id string, cmd *exec.Cmd, text []byte, stdin io.WriteCloser, out *os.File) {
	var said *result
	var heard error
	read := make(chan struct{})
	go func() {
		defer close(read)
		said, heard = d.follow(id, out)
		_ = out.Close() // what else it says nobody waits for
	}()
	_, err := stdin.Write(text)
	if !keepStdin {
		err = errors.Join(err, stdin.Close())
	}
	waited := cmd.Wait()
	// Whom it has left with its output open does not hold us up.
	_ = out.SetReadDeadline(time.Now().Add(lastWords))
	<-read
	d.report(endEvent{login: id, over: true, result: said, err: errors.Join(err, heard, waited)})
}

// lastWords is how long what an end's process has said may take to be read.
const lastWords = 10 * time.Second

// report tells the main goroutine, for as long as there is one.
func (d *Daemon) report(e endEvent) {
	select {
	case d.ends <- e:
	case <-d.over:
	}
}

// longestLine bounds what is held of a line: survivors are named in it.
const longestLine = 256 << 10

// follow reads what an end's process says, up to its result.
func (d *Daemon) follow(id string, stdout io.Reader) (*result, error) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &l); err != nil {
			return nil, fmt.Errorf("the end's process says %.80q: %w", lines.Bytes(), err)
		}
		if l.Result != nil {
			return l.Result, nil
		}
		d.report(endEvent{login: id, step: l.Step})
	}
	return nil, lines.Err()
}

// hear takes in what an end's process said, or that it is over.
func (d *Daemon) hear(ev endEvent) {
	e := d.book[ev.login]
	if e == nil || e.end == nil {
		return
	}
	if !ev.over {
		e.end.step, e.end.since = ev.step, d.now()
		for _, l := range e.listeners {
			l.progress(ipc.Step{Step: string(ev.step)})
		}
		fault(d.o.Dir, string(ev.step))
		return
	}
	e.end = nil
	log := d.log(e)
	if ev.result == nil {
		log.Error("the end's process died", "error", ev.err)
		d.counts["ends that died"]++
		e.told(ipc.Result{
			Exit: login.ExitFailed, Record: e.state.Record,
			Problems: []string{"the process that ended it died; it is tried again, and the system's log says more"},
		})
		d.tell(ev.login, login.Fact{Kind: login.Lost})
		return
	}
	r := ev.result
	d.count(r)
	e.told(ipc.Result{
		Exit: r.Exit, Verified: r.Verified, Ended: r.Ended, Kept: r.Kept, Spared: r.Spared, Survivors: r.Survivors,
		Problems: r.Problems, Record: e.state.Record, AuditOnly: d.config.Daemon.AuditOnly,
	})
	log = log.With("ended", r.Ended, "kept", r.Kept, "spared", r.Spared, "verified", r.Verified, "record", e.state.Record)
	for _, p := range r.Problems {
		log.Warn("problem while ending", "problem", p)
	}
	switch r.Exit {
	case login.ExitDone:
		log.Info("end carried out")
	default:
		log.Error("end not carried out whole", "exit", r.Exit, "survivors", len(r.Survivors))
	}
	d.tell(ev.login, login.Fact{Kind: login.Finished, Exit: r.Exit})
}

func (d *Daemon) count(r *result) {
	switch r.Exit {
	case login.ExitDone:
		d.counts["ends"]++
	case login.ExitUnverified:
		d.counts["ends"]++
		d.counts["ends not verified"]++
	default:
		d.counts["ends that failed"]++
	}
	d.counts["processes ended"] += int64(r.Ended)
	d.counts["processes kept"] += int64(r.Kept)
}
