package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// Guest is what the tests can ask for. Its methods are called in goroutines
// of their own.
type Guest struct {
	mu        sync.Mutex
	processes map[int]*process
	leftovers map[string][]int // pidfds by the name that each announced itself by
}

// process is a program that Start started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// Serve answers on the serial line for as long as the machine runs.
func Serve() error {
	if err := machine.CollectSyslog(); err != nil {
		return err
	}
	line, err := os.OpenFile(serial, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	if err := raw(int(line.Fd())); err != nil {
		return err
	}
	g := &Guest{processes: make(map[int]*process), leftovers: make(map[string][]int)}
	if err := g.listen(); err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Guest", g); err != nil {
		return err
	}
	if _, err := line.WriteString("ready\n"); err != nil {
		return err
	}
	server.ServeCodec(jsonrpc.NewServerCodec(line))
	return errors.New("the serial line is closed")
}

// raw: bytes go through as they are (cfmakeraw(3)).
func raw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// Command is a program to be started, in a session of its own.
type Command struct {
	Argv   []string
	Env    []string // beyond the user's plain environment
	User   string
	Output string // of Start: the file that stdout and stderr are appended to
	Group  string // directory of the control group that it is born in
}

// Result is what a finished program left: 128 + N if signal N ended it.
type Result struct {
	Status int
	Output string
}

func (c Command) command() *exec.Cmd {
	env := append(machine.UserEnv(c.User), c.Env...)
	path := c.Argv[0]
	if !strings.Contains(path, "/") {
		path = "/usr/bin/" + path
	}
	id := uint32(machine.Users[c.User])
	return &exec.Cmd{
		Path: path, Args: c.Argv, Env: env, Dir: machine.Home(c.User),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: id, Gid: id}},
	}
}

// Run runs a program to its end.
func (g *Guest) Run(c Command, r *Result) error {
	out, err := os.CreateTemp("", "run-")
	if err != nil {
		return err
	}
	defer func() { _, _ = os.Remove(out.Name()), out.Close() }()
	cmd := c.command()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = cmd.Wait() // its status says it
	r.Status = status(cmd)
	text, err := os.ReadFile(out.Name())
	r.Output = string(text)
	return err
}

// Start starts a program that stays, and says its number.
func (g *Guest) Start(c Command, pid *int) error {
	cmd := c.command()
	if c.Group != "" {
		group, err := c.into(cmd)
		if err != nil {
			return err
		}
		defer group.Close()
	}
	if c.Output != "" {
		out, err := os.OpenFile(c.Output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
		if err != nil {
			return err
		}
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	*pid = cmd.Process.Pid
	g.processes[*pid] = p
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	return nil
}

func status(cmd *exec.Cmd) int {
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

func (g *Guest) process(pid int) (*process, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.processes[pid]
	if p == nil {
		return nil, fmt.Errorf("no process %d was started here", pid)
	}
	return p, nil
}

// Look says what a started program is doing: the letter of proc(5), "" once it
// has ended.
func (g *Guest) Look(pid int, state *string) error {
	p, err := g.process(pid)
	if err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	default:
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if i := bytes.LastIndexByte(text, ')'); err == nil && i+2 < len(text) {
		*state = string(text[i+2])
	}
	return err
}

// Signal is for a program that was started.
type Signal struct{ PID, Signal int }

// Signal sends one.
func (g *Guest) Signal(s Signal, _ *bool) error {
	p, err := g.process(s.PID)
	if err != nil {
		return err
	}
	return p.cmd.Process.Signal(syscall.Signal(s.Signal))
}

// Read is a file's text, "" if there is none.
func (g *Guest) Read(path string, text *string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	*text = string(b)
	return err
}

// PowerOff ends the machine, soon.
func (g *Guest) PowerOff(bool, *bool) error {
	time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF) })
	return nil
}
