package ipc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xexit/internal/history"
	"xexit/internal/session"
)

// roleVar makes the test binary a client that may run as another user.
const (
	roleVar = "XEXIT_TEST_IPC_ROLE"
	pathVar = "XEXIT_TEST_IPC_PATH"
)

// wait is for what happens in no time on a machine with nothing else to do.
const wait = 60 * time.Second

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		os.Exit(play(role, os.Getenv(pathVar)))
	}
	os.Exit(m.Run())
}

// said is what a client of another user heard.
type said struct {
	UID     int
	Logins  []Login
	Records []history.Record
	Status  Status
	Result  Result
	Steps   []Step
	Err     string
	Kind    string // which of the package's errors
	Each    []said // of several messages
}

func (s *said) fail(err error) {
	if err == nil {
		return
	}
	s.Err = err.Error()
	if k := known(err); k != nil {
		s.Kind = k.name
	}
}

// play carries out a role: a request, or holding connections open until its
// standard input is closed.
func play(role, path string) int {
	c := Client{Path: path, Server: uint32(number(os.Getenv(roleVar + "_SERVER"))), Patience: wait}
	out := said{UID: os.Getuid()}
	var err error
	word, arg, _ := strings.Cut(role, " ")
	ctx := context.Background()
	switch word {
	case "logins":
		out.Logins, err = c.Logins(ctx, arg == "all")
	case "log":
		out.Records, err = c.Log(ctx, arg == "all", LogQuery{})
	case "status":
		out.Status, err = c.Status(ctx)
	case "end":
		out.Result, err = c.End(ctx, arg, EndRequest{}, func(s Step) { out.Steps = append(out.Steps, s) })
	case "raw": // messages as they are, one a connection
		for quoted := range strings.SplitSeq(arg, "\n") {
			var one said
			message, err := strconv.Unquote(quoted)
			if err == nil {
				err = raw(path, message, &one)
			}
			one.fail(err)
			out.Each = append(out.Each, one)
		}
	case "hold", "flood":
		return hold(path, word == "flood")
	}
	out.fail(err)
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return 1
	}
	return 0
}

func raw(path, message string, out *said) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s\n", message); err != nil {
		return err
	}
	in := bufio.NewScanner(conn)
	for in.Scan() {
		a, err := decodeAnswer(in.Bytes())
		switch {
		case err != nil:
			return err
		case a.Error != nil:
			return a.Error.err()
		case a.Login != nil:
			out.Logins = append(out.Logins, *a.Login)
		}
	}
	return in.Err()
}

// hold opens connections that say nothing, or the beginning of something. It
// says so when it has 200, or has been turned away as often, and with flood
// goes on for ever.
func hold(path string, flood bool) int {
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	var held []net.Conn
	for i := 0; ; i++ {
		if i == 200 {
			fmt.Println("held")
			if !flood {
				select {}
			}
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			continue // its queue is full
		}
		_, _ = conn.Write([]byte(`{"v":1,`[:i%8]))
		if held = append(held, conn); len(held) > 400 {
			_ = held[0].Close()
			held = held[1:]
		}
	}
}

func number(text string) int { n, _ := strconv.Atoi(text); return n }

// as runs a role as another user, and returns what it heard.
func as(t *testing.T, uid uint32, path, role string) said {
	t.Helper()
	cmd := roleCommand(t, uid, path, role)
	return decodeSaid(t, cmd)
}

func decodeSaid(t *testing.T, cmd *exec.Cmd) (out said) {
	t.Helper()
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Env, err)
	}
	return parseSaid(t, text)
}

func parseSaid(t *testing.T, text []byte) (out said) {
	t.Helper()
	if err := json.Unmarshal(text, &out); err != nil {
		t.Errorf("%v in %q", err, text)
	}
	return out
}

func roleCommand(t *testing.T, uid uint32, path, role string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*wait)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{roleVar + "=" + role, pathVar + "=" + path, roleVar + "_SERVER=" + strconv.Itoa(os.Geteuid())}
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	if int(uid) != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	return cmd
}

// start runs a role that goes on until the test ends, once it has said so.
func start(t *testing.T, uid uint32, path, role string) {
	t.Helper()
	cmd := roleCommand(t, uid, path, role)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%s: %q, %v", role, line, err)
	}
}

// Users of the tests: of no account, and of nobody else's.
const (
	alice = 61001
	bob   = 61002
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "only root can be several users")
	}
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// keeper is a handler that knows a few logins. It is as trusting as can be:
// what it is asked for it gives, whoever asks.
type keeper struct {
	mu     sync.Mutex
	logins []Login
	looks  int
	ended  []string
	by     []uint32

	records []history.Record
	status  Status
	// during is called in End; nil: nothing is.
	during func(ctx context.Context, progress func(Step)) (Result, error)
}

func (k *keeper) Logins(_ context.Context, q LoginQuery) ([]Login, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !q.Who {
		return k.logins, nil
	}
	k.looks++
	list := slices.Clone(k.logins)
	for i := range list {
		list[i].Looked = list[i].Phase != PhaseOpen
	}
	return list, nil
}

func (k *keeper) Log(uint32, bool, LogQuery) ([]history.Record, error) { return k.records, nil }
func (k *keeper) Status() Status                                       { return k.status }

func (k *keeper) End(ctx context.Context, caller uint32, login string, _ EndRequest, progress func(Step)) (Result, error) {
	k.mu.Lock()
	k.ended, k.by = append(k.ended, login), append(k.by, caller)
	k.mu.Unlock()
	if k.during != nil {
		return k.during(ctx, progress)
	}
	progress(Step{Step: "claim"})
	progress(Step{Step: "done"})
	return Result{Verified: true, Ended: 3}, nil
}

func (k *keeper) endedLogins() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.ended, " ")
}

func newKeeper() *keeper {
	record := func(id string, uid uint32) history.Record {
		return history.Record{V: 1, ID: id, Event: history.Done, Kind: history.KindEnd, UID: uid, User: "u", Reason: session.ReasonLogout, Verified: true}
	}
	return &keeper{
		logins: []Login{
			{ID: "1", UID: alice, User: "alice", Type: "tty", Phase: PhaseOpen, Fate: FateEnd},
			{ID: "2", UID: bob, User: "bob", Type: "x11", Phase: PhaseOpen, Fate: FateEnd},
			{ID: "c3", UID: alice, User: "alice", Type: "x11", Phase: PhaseEnding, Fate: FateEnd},
		},
		records: []history.Record{record("a", alice), record("b", bob), record("c", alice)},
		status: Status{
			Version: "v", PID: 7, Types: []string{"x11"}, Counters: map[string]int64{"logins": 3},
			Conflicts:      []Conflict{{Key: "audit.unset", Text: "4 of alice"}, {Key: "logind.kills"}, {Key: "of.a.later.version"}},
			ConfigProblems: []string{"xexit.toml:7: alice's secret"},
		},
	}
}

// run serves until the test ends and returns the socket's path. adjust may be nil.
func run(t *testing.T, k Handler, adjust func(*Server)) string {
	t.Helper()
	path := filepath.Join(socketDir(t), "control")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, k, adjust)
	return path
}

// serve returns a function that stops the server and waits until it has stopped.
func serve(t *testing.T, l *net.UnixListener, k Handler, adjust func(*Server)) (stop func()) {
	t.Helper()
	s := &Server{Handler: k, Patience: wait}
	if adjust != nil {
		adjust(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(wait):
			t.Error("the server does not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

// socketDir: others must get there, and a socket's name is short.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ipc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// here is a client that runs as the test does.
func here(path string) Client {
	return Client{Path: path, Server: uint32(os.Geteuid()), Patience: wait}
}

func ids(list []Login) string {
	var names []string
	for _, l := range list {
		names = append(names, l.ID)
	}
	return strings.Join(names, " ")
}

func recordIDs(list []history.Record) string {
	var names []string
	for _, r := range list {
		names = append(names, r.ID)
	}
	return strings.Join(names, " ")
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
