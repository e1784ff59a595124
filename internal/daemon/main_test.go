package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"xexit/internal/config"
	"xexit/internal/login"
	"xexit/internal/member"
	"xexit/internal/session"
)

// TestMain: started as an end's process, this binary is one that does what the
// login's user name says, and writes down that it was asked.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == EndVerb {
		os.Exit(endMain(os.Getenv("XEXIT_TEST_DIR")))
	}
	if len(os.Args) > 1 && os.Args[1] == LookVerb {
		os.Exit(lookMain(os.Getenv("XEXIT_TEST_DIR")))
	}
	os.Exit(m.Run())
}

// lookMain is a look that finds one process called like the login's user, if it
// is not held up by a FIFO.
func lookMain(dir string) int {
	var r request
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return 1
	}
	f, err := os.OpenFile(filepath.Join(dir, "looks."+r.Login), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 1
	}
	_, _ = f.WriteString(string(r.Session) + "\n")
	if r.User == "blind" {
		fmt.Fprintln(os.Stderr, "something of another's")
		return 1
	}
	if f, err := os.Open(filepath.Join(dir, "look."+r.Login)); err == nil { // a FIFO
		_ = f.Close()
	}
	fmt.Printf(`{"processes":[{"pid":77,"start":5,"comm":%q,"verdict":"end"}],"undecided":[{"pid":78}],"omitted":2}`+"\n", r.User)
	return 0
}

func endMain(dir string) int {
	text, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	var r request
	if err := errors.Join(err, json.Unmarshal(text, &r)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	asked, err := os.OpenFile(filepath.Join(dir, "asked."+r.Login), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = asked.Write(text) // one write: whole
	fmt.Println(`{"step":"claim"}`)
	fmt.Println(`{"step":"begin"}`)
	count := bytes.Count(mustRead(asked.Name()), []byte("\n"))
	switch {
	case r.User == "hangs":
		_, _ = os.Stdin.Read(make([]byte, 1)) // at its end at once: then for ever
		select {}
	case r.User == "waits":
		if f, err := os.Open(filepath.Join(dir, "go")); err == nil { // a FIFO
			_ = f.Close()
		}
	case r.User == "dies" && count < 2:
		return 1
	case r.User == "babbles" && count < 2:
		fmt.Println("not JSON")
		return 0
	case r.User == "refused" && count < 2:
		fmt.Println(`{"result":{"exit":2,"problems":["no"]}}`)
		return 2
	}
	fmt.Println(`{"result":{"exit":0,"verified":true,"ended":3,"survivors":[{"pid":1,"start":2,"comm":"x","cause":"y"}]}}`)
	return 0
}

func mustRead(name string) []byte {
	text, _ := os.ReadFile(name)
	return text
}

// source is one whose logins the test makes.
type source struct {
	mu      sync.Mutex
	logins  map[string]member.Login
	changed func(string)
	broken  error
}

func (s *source) Watch(ctx context.Context, changed func(string)) error {
	s.mu.Lock()
	s.changed = changed
	s.mu.Unlock()
	changed("")
	<-ctx.Done()
	return ctx.Err()
}

func (s *source) List() ([]member.Login, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.logins)), s.broken
}

func (s *source) Read(id string) (member.Login, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logins[id]; ok {
		return l, s.broken
	}
	return member.Login{}, fs.ErrNotExist
}

// set makes, changes or removes (nil) a login, and says so.
func (s *source) set(id string, l *member.Login) {
	s.mu.Lock()
	if l == nil {
		delete(s.logins, id)
	} else {
		s.logins[id] = *l
	}
	changed := s.changed
	s.mu.Unlock()
	if changed != nil {
		changed(id)
	}
}

// bench is one daemon and what stands around it.
type bench struct {
	t      *testing.T
	dir    string
	source *source
	o      Options
	log    *logBuffer
	stop   func()
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	self := filepath.Join(dir, "xexit-main")
	script := fmt.Sprintf("#!/bin/sh\nXEXIT_TEST_DIR='%s' exec '%s' \"$@\"\n", dir, os.Args[0])
	b := &bench{t: t, dir: dir, source: &source{logins: make(map[string]member.Login)}, log: &logBuffer{}, stop: func() {}}
	b.configure(`types = ["ssh"]`)
	if err := os.WriteFile(self, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	b.o = Options{
		Self: self, Proc: "/proc", Root: filepath.Join(dir, "root"), Dir: filepath.Join(dir, "run"),
		Config: config.Paths{File: filepath.Join(dir, "xexit.toml")}, Source: b.source,
		Log: slog.New(slog.NewTextHandler(b.log, nil)), Stderr: os.Stderr, Stop: time.Minute,
	}
	t.Cleanup(func() {
		b.stop()
		if t.Failed() {
			t.Log(b.log.String())
		}
	})
	return b
}

func (b *bench) configure(daemon string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, "xexit.toml"), []byte("[daemon]\n"+daemon+"\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// run starts the daemon; stop stops it and waits.
func (b *bench) run() *Daemon {
	b.t.Helper()
	d, err := open(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.start(d)
	return d
}

func (b *bench) start(d *Daemon) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
}

// until waits for what has no event: a file's content.
func (b *bench) until(what string, holds func() bool) {
	b.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			b.t.Fatalf("hang guard: it does not come to be that %s", what)
		}
	}
}

func (b *bench) stateFile(id string) string {
	return filepath.Join(b.o.Dir, "sessions", id+".json")
}

// phase is what the state file says; "": there is none.
func (b *bench) phase(id string) login.Phase {
	s, err := login.Decode(id, mustRead(b.stateFile(id)))
	if err != nil {
		return ""
	}
	return s.Phase
}

func (b *bench) awaitPhase(id string, want login.Phase) {
	b.t.Helper()
	b.until(fmt.Sprintf("login %s is %q", id, want), func() bool { return b.phase(id) == want })
}

// asked are the requests for a login's end, so far.
func (b *bench) asked(id string) (all []request) {
	b.t.Helper()
	for line := range bytes.Lines(mustRead(filepath.Join(b.dir, "asked."+id))) {
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			b.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// sshd is a login's leader.
func (b *bench) sshd() *exec.Cmd {
	b.t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func (b *bench) login(id, user string, leader int) *member.Login {
	group := fmt.Sprintf("/user.slice/user-%d.slice/session-%s.scope", ordinary(), id)
	return &member.Login{
		ID: id, UID: ordinary(), User: user, Class: "user", Type: "tty", Service: "sshd", State: "active", Leader: leader,
		Audit: 17, Scope: "session-" + id + ".scope", Cgroup: group,
	}
}

// ordinary is an ordinary user's uid: this one's, so that he may ask for ends.
func ordinary() uint32 { return max(1000, uint32(os.Getuid())) }

// open logs in, and returns when that is known.
func (b *bench) open(id, user string) *exec.Cmd {
	b.t.Helper()
	leader := b.sshd()
	b.source.set(id, b.login(id, user, leader.Process.Pid))
	b.awaitPhase(id, login.Open)
	return leader
}

func (b *bench) end(leader *exec.Cmd) {
	b.t.Helper()
	if err := leader.Process.Kill(); err != nil {
		b.t.Fatal(err)
	}
	_ = leader.Wait()
}

// put leaves a state file as an earlier daemon would have.
func (b *bench) put(s login.State) {
	b.t.Helper()
	text, err := login.Encode(s)
	if err != nil {
		b.t.Fatal(err)
	}
	b.putText(s.ID, text)
}

func (b *bench) putText(id string, text []byte) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.stateFile(id)), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.stateFile(id), text, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) state(id, user string, phase login.Phase, leader session.ProcID) login.State {
	b.t.Helper()
	boot, err := bootID("/proc")
	if err != nil {
		b.t.Fatal(err)
	}
	name, err := login.SessionID(boot, id, 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	s := login.State{ID: id, Boot: boot, Session: name, Phase: phase, Info: login.Info{
		UID: 1000, User: user, Cgroup: "/user.slice/user-1000.slice/session-" + id + ".scope", Audit: 17,
		Leader: leader, Type: "tty", Service: "sshd",
	}}
	if phase != login.Open {
		s.Record, s.Reason = "record"+id, session.ReasonLogout
	}
	return s
}

func (b *bench) logged(text string) bool { return strings.Contains(b.log.String(), text) }
