// Package agent starts programs inside a test machine for somebody outside of
// it. One agent is the machine's root, one stands for each login's leader (the
// process of a display manager or sshd that PAM ran in), one for each
// session's own first program. The wire, client and server belong here; what
// a machine is made of does not.
//
//	client                                agent
//	  │ Request, [stdin stdout stderr …]    │
//	  ├────────────────────────────────────▶│ starts the program
//	  │ Started, [pidfd]                    │
//	  │◀────────────────────────────────────┤ waits for it
//	  │ Finished                            │
//	  │◀────────────────────────────────────┤
package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Request is one program to be started. The descriptors sent with it become
// its 0, 1, 2 and so on.
type Request struct {
	Argv []string
	Env  []string // nil: the agent's own
	Add  []string // to be added to Env
	Dir  string   // "": /
	UID  int      // -1: the agent's own credentials
	// NewSession makes it a session leader (setsid(2)); Terminal makes its
	// descriptor 0 the controlling terminal.
	NewSession, Terminal bool
}

type reply struct {
	Error  string `json:",omitempty"`
	PID    int    // in the machine's own numbers
	Exited bool
	Status int // exit status, or 128 + the signal that ended it
}

// Proc is a started program.
type Proc struct {
	PID   int      // in the machine's own numbers
	PidFD *os.File // polls readable when it has ended
	conn  *net.UnixConn
}

// ErrAgentGone reports that the agent ended before it could tell a status.
var ErrAgentGone = errors.New("the agent that started it is gone")

// Start has the agent that listens at socket start a program. The caller
// keeps its files.
func Start(socket string, r Request, files ...*os.File) (*Proc, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if _, _, err := conn.WriteMsgUnix(append(text, '\n'), unix.UnixRights(fds...), nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	answer, got, err := receive(conn)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", strings.Join(r.Argv, " "), err), conn.Close())
	}
	p := &Proc{PID: answer.PID, conn: conn}
	if len(got) > 0 {
		p.PidFD = got[0]
	}
	return p, nil
}

// Wait returns the program's exit status, 128 + N if signal N ended it.
func (p *Proc) Wait() (int, error) {
	answer, _, err := receive(p.conn)
	if err := errors.Join(err, p.conn.Close()); err != nil {
		return -1, fmt.Errorf("%w: %w", ErrAgentGone, err)
	}
	return answer.Status, nil
}

func receive(conn *net.UnixConn) (answer reply, files []*os.File, err error) {
	buffer, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*16))
	n, oobn, _, _, err := conn.ReadMsgUnix(buffer, oob)
	if err != nil {
		return reply{}, nil, err
	}
	if n == 0 {
		return reply{}, nil, io.ErrUnexpectedEOF
	}
	return answer, takeFiles(oob[:oobn]), json.Unmarshal(buffer[:n], &answer)
}

func takeFiles(oob []byte) (files []*os.File) {
	messages, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files
}

// Serve listens at socket and starts what it is asked to, until it is ended.
func Serve(socket string) error {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket + ".new", Net: "unixpacket"})
	if err != nil {
		return err
	}
	// Whoever sees the name can connect: bind and listen are two calls.
	if err := os.Rename(socket+".new", socket); err != nil {
		return err
	}
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return err
		}
		go serve(conn)
	}
}

func serve(conn *net.UnixConn) {
	defer conn.Close()
	buffer, oob := make([]byte, 256<<10), make([]byte, unix.CmsgSpace(4*16))
	n, oobn, _, _, err := conn.ReadMsgUnix(buffer, oob)
	if err != nil {
		return
	}
	files := takeFiles(oob[:oobn])
	var r Request
	if err := json.Unmarshal(buffer[:n], &r); err != nil {
		send(conn, reply{Error: err.Error()}, -1)
		return
	}
	pidfd := -1
	cmd := command(r, files)
	cmd.SysProcAttr.PidFD = &pidfd
	err = cmd.Start()
	for _, f := range files {
		_ = f.Close()
	}
	if err != nil {
		send(conn, reply{Error: err.Error()}, -1)
		return
	}
	send(conn, reply{PID: cmd.Process.Pid}, pidfd)
	if pidfd >= 0 {
		_ = unix.Close(pidfd)
	}
	_ = cmd.Wait()
	status := cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	send(conn, reply{Exited: true, Status: status}, -1)
}

func command(r Request, files []*os.File) *exec.Cmd {
	env := r.Env
	if env == nil {
		env = os.Environ()
	}
	env = append(env, r.Add...)
	path := r.Argv[0]
	if !strings.Contains(path, "/") {
		path = find(path, env)
	}
	cmd := &exec.Cmd{Path: path, Args: r.Argv, Env: env, Dir: r.Dir}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	for i, f := range files {
		switch i {
		case 0:
			cmd.Stdin = f
		case 1:
			cmd.Stdout = f
		case 2:
			cmd.Stderr = f
		default:
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: r.NewSession || r.Terminal, Setctty: r.Terminal}
	if r.UID >= 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(r.UID), Gid: uint32(r.UID)}
	}
	return cmd
}

// find looks a name up in the PATH of the program's own environment.
func find(name string, env []string) string {
	for _, entry := range env {
		if dirs, ok := strings.CutPrefix(entry, "PATH="); ok {
			for dir := range strings.SplitSeq(dirs, ":") {
				if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
					return dir + "/" + name
				}
			}
		}
	}
	return name
}

func send(conn *net.UnixConn, r reply, fd int) {
	text, err := json.Marshal(r)
	if err != nil {
		return
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, _ = conn.WriteMsgUnix(text, rights, nil)
}
