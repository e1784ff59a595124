package ending

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"xexit/internal/config"
	"xexit/internal/history"
	"xexit/internal/session"
)

// programs builds xexit-main, once with fault points and once as it is shipped.
var programs = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "ending-test-"); err != nil {
		return "", err
	}
	built = dir
	for name, tags := range map[string]string{"faults": "faultpoints", "shipped": ""} {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", tags, "-o", filepath.Join(dir, name), "xexit/cmd/xexit-main")
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build xexit-main: %w: %s", err, out)
		}
	}
	return dir, nil
})

var built string // where; TestMain removes it

func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// endHost is a machine with one login in it, and a daemon's directories.
type endHost struct {
	*loginHost
	scope  string
	leader *process
	config config.Config
	fault  session.Step // where the next child stands still
}

func newEndHost(t *testing.T) *endHost {
	t.Helper()
	h := &endHost{loginHost: newLoginHost(t), config: config.Default()}
	h.RunDir, h.StateDir = t.TempDir(), t.TempDir()
	h.Self = program(t, "faults")
	h.scope = h.loginHost.scope(loginUID, loginName())
	h.config.Grace, h.config.PAMClose = 100*time.Millisecond, 500*time.Millisecond
	h.config.Log.Syslog = false
	h.config.Hooks.Dir, h.config.Hooks.RootDir = h.hooks("user"), h.hooks("root")
	return h
}

// hooks makes a directory of hooks, which every user can get to.
func (h *endHost) hooks(name string) string {
	dir, err := os.MkdirTemp("", "ending-"+name+"-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (h *endHost) request() LoginRequest {
	boot, err := bootID("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	r := LoginRequest{
		V: 1, Login: loginName(), UID: loginUID, User: "somebody", Cgroup: h.scope, Scope: filepath.Base(h.scope),
		Audit: session.NoAudit, Type: "tty", Service: "sshd", Reason: session.ReasonLogout,
		Noticed: "the leader exited", NoticedUS: 812, Record: history.NewID(),
		Session: "0b4e28ba-2fa1-41d2-883f-0016d3cca427", Boot: boot, Config: &h.config,
	}
	if h.leader != nil {
		r.Leader = procID(h.t, h.leader.Process.Pid)
	}
	return r
}

func procID(t *testing.T, pid int) session.ProcID {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	id := session.ProcID{PID: pid}
	if _, err := fmt.Sscan(strings.Fields(after)[19], &id.Start); err != nil {
		t.Fatal(err)
	}
	return id
}

// child is an end under way in a process of its own.
type child struct {
	*exec.Cmd
	t      *testing.T
	stdin  io.WriteCloser
	out    io.Closer
	lines  *bufio.Reader
	stderr bytes.Buffer
	steps  []session.Step
	result *LoginResult
}

func (h *endHost) child(r LoginRequest) *child {
	h.t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &child{Cmd: exec.Command(h.Self, EndLoginVerb), t: h.t}
	c.Env = []string{"RUNTIME_DIRECTORY=" + h.RunDir, "STATE_DIRECTORY=" + h.StateDir, "PATH=/usr/bin:/bin"}
	if h.fault != "" {
		c.Env = append(c.Env, "XEXIT_FAULT="+string(h.fault))
	}
	c.Stderr = &c.stderr
	out, err := c.StdoutPipe()
	if err == nil {
		c.stdin, err = c.StdinPipe()
	}
	if err == nil {
		err = c.Start()
	}
	if err == nil {
		_, err = c.stdin.Write(append(text, '\n'))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	c.out, c.lines = out, bufio.NewReader(out)
	h.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

// until reads lines up to a step, or up to the result with "".
func (c *child) until(step session.Step) {
	c.t.Helper()
	for {
		line, err := c.lines.ReadBytes('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v: %s", c.steps, err, &c.stderr)
		}
		var said struct {
			Step   session.Step `json:"step"`
			Result *LoginResult `json:"result"`
		}
		if err := json.Unmarshal(line, &said); err != nil {
			c.t.Fatalf("%s: %v", line, err)
		}
		if c.result = said.Result; c.result != nil {
			if step != "" {
				c.t.Fatalf("no step %q in %q", step, c.steps)
			}
			return
		}
		if c.steps = append(c.steps, said.Step); said.Step == step {
			return
		}
	}
}

// over waits for the result and the exit status, which must be the same.
func (c *child) over() LoginResult {
	c.t.Helper()
	c.until("")
	_ = c.Wait() // a status other than 0 is no error
	if status := c.ProcessState.ExitCode(); status != c.result.Exit {
		c.t.Errorf("exit status %d, result %d", status, c.result.Exit)
	}
	return *c.result
}

// recorded counts the lines of an end in both files.
func (h *endHost) recorded(id string) (counts map[string]int) {
	counts = map[string]int{}
	host, _ := os.Hostname()
	for name, path := range map[string]string{
		"runtime": history.RuntimeFile(h.RunDir), "lasting": history.StateFile(h.StateDir, host),
	} {
		text, _ := os.ReadFile(path)
		for line := range bytes.Lines(text) {
			var r history.Record
			if json.Unmarshal(line, &r) == nil && r.ID == id {
				counts[name+" "+string(r.Event)]++
			}
		}
	}
	return counts
}

func (h *endHost) mustBeRecordedOnce(id string) {
	h.t.Helper()
	for _, line := range []string{"runtime begin", "runtime done", "lasting begin", "lasting done"} {
		if got := h.recorded(id); got[line] != 1 {
			h.t.Errorf("%q is there %d times, expected once: %v", line, got[line], got)
		}
	}
}

func (h *endHost) record(id string) history.Record {
	h.t.Helper()
	host, _ := os.Hostname()
	found, err := history.Find(id, history.StateFile(h.StateDir, host))
	if err != nil {
		h.t.Fatal(err)
	}
	return found.Record()
}

// keeps starts a program in the login that a rule keeps.
func (h *endHost) keeps() *process {
	const kept = "/usr/bin/tail"
	h.config.Keep = []config.Keep{{Name: "kept", Programs: []string{kept}}}
	// It says something of its own: by then it is what the shell has executed.
	return h.start(h.scope, loginUID, "exec "+kept+" -n 1 -f /etc/passwd")
}

func (h *endHost) frozen() bool {
	h.t.Helper()
	if version, _ := h.tree.Version(); version == 1 { // its freezer has a group for the time, named after the login's
		old, err := filepath.Glob("/sys/fs/cgroup/freezer/xexit/*" + filepath.Base(h.scope) + "/freezer.state")
		if err != nil {
			h.t.Fatal(err)
		}
		return slices.ContainsFunc(old, func(file string) bool {
			state, err := os.ReadFile(file)
			return err == nil && string(state) != "THAWED\n"
		})
	}
	text, err := os.ReadFile(filepath.Join(h.tree.Directory(h.scope), "cgroup.freeze"))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(text)) != "0"
}

func (h *endHost) hook(dir, name, script string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		h.t.Fatal(err)
	}
}
