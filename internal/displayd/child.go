package displayd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// Without systemd worker and openers are children of the daemon, who has the
// right to give them other users' ids then.

// capNetBindService is a capability that the opener has and does not use: of a
// process with more capabilities than theirs, the user's other processes
// cannot take the descriptors, or stop it half-way to change what it does
// (ptrace(2), PTRACE_MODE_ATTACH). It is one that is everywhere to be had.
const capNetBindService = 10

// ChildOpener starts openers as children of this process. program is
// xexit-main.
func ChildOpener(program string) Starter {
	return func(ctx context.Context, o Opening) error {
		who, err := lookUp(ctx, o.UID)
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, program, o.Argv...)
		cmd.Env, cmd.Dir = who.environ(), "/"
		cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Socket, o.Note, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
		if os.Geteuid() == 0 {
			who.become(cmd.SysProcAttr)
		}
		return exited(ctx, cmd.Run())
	}
}

// exited: an opener that fails has told the worker why.
func exited(ctx context.Context, err error) error {
	var status *exec.ExitError
	if errors.As(err, &status) && status.Exited() {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errNotOver
	}
	return err
}

// account is a user as the name service knows him.
type account struct {
	syscall.Credential
	name, home string
}

// lookUp asks getent(1) and id(1), which ask what nsswitch.conf(5) names.
func lookUp(ctx context.Context, uid uint32) (account, error) {
	number := strconv.FormatUint(uint64(uid), 10)
	line, err := answer(ctx, "getent", "passwd", number)
	if err != nil {
		return account{}, fmt.Errorf("look up user %s: %w", number, err)
	}
	// name:password:uid:gid:comment:home:shell (passwd(5))
	f := strings.Split(line, ":")
	if len(f) != 7 || f[2] != number {
		return account{}, fmt.Errorf("look up user %s: unexpected answer", number)
	}
	groups, err := answer(ctx, "id", "-G", "--", f[0])
	if err != nil {
		return account{}, fmt.Errorf("look up the groups of user %s: %w", number, err)
	}
	a := account{name: f[0], home: f[5]}
	a.Uid = uid
	for i, text := range append([]string{f[3]}, strings.Fields(groups)...) {
		gid, err := strconv.ParseUint(text, 10, 32)
		switch {
		case err != nil:
			return account{}, fmt.Errorf("look up the groups of user %s: %w", number, err)
		case i == 0:
			a.Gid = uint32(gid)
		default:
			a.Groups = append(a.Groups, uint32(gid))
		}
	}
	return a, nil
}

func answer(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "/usr/bin/"+name, args...).Output()
	return strings.TrimSpace(string(out)), err
}

// become makes a process the user's that his others cannot get at.
func (a *account) become(p *syscall.SysProcAttr) {
	p.Credential, p.AmbientCaps = &a.Credential, []uintptr{capNetBindService}
}

func (a *account) environ() []string {
	return []string{"PATH=/usr/bin:/bin", "HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name}
}

// ChildWorker runs the worker as a child of this process, as a user who owns
// nothing: xexit-display if there is one, else nobody.
func ChildWorker(program string) Worker {
	return func(ctx context.Context) (*net.UnixConn, error) {
		ours, theirs, err := linux.MessagePair()
		if err != nil {
			return nil, err
		}
		stdin := os.NewFile(uintptr(theirs), "worker")
		defer stdin.Close()
		conn, err := seqpacket(ours)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, program, WorkerVerb)
		cmd.Env, cmd.Dir, cmd.Stdin = []string{"PATH=/usr/bin:/bin"}, "/", stdin
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
		if os.Geteuid() == 0 {
			cmd.SysProcAttr.Credential = nobody()
		}
		if err := cmd.Start(); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		go func() { _ = cmd.Wait() }() // the connection tells that it is gone
		return conn, nil
	}
}

func nobody() *syscall.Credential {
	const nobody = 65534
	c := &syscall.Credential{Uid: nobody, Gid: nobody}
	if u, err := user.Lookup("xexit-display"); err == nil {
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			c.Uid, c.Gid = uint32(uid), uint32(gid)
		}
	}
	return c
}

// Listen waits for the worker of a service of its own, at a socket. mayServe
// says whether a process that comes is that: pid and uid are the kernel's
// word. Others are sent away.
func Listen(path string, mayServe func(pid int, uid uint32) error) Worker {
	return func(ctx context.Context) (*net.UnixConn, error) {
		_ = os.Remove(path) // of a daemon before this one
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			return nil, err
		}
		defer l.Close()
		// Who the worker's user is systemd decides when it starts it.
		if err := os.Chmod(path, 0o666); err != nil {
			return nil, err
		}
		defer context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })()
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return nil, err
			}
			if cred, err := peer(conn); err == nil && mayServe(int(cred.Pid), cred.Uid) == nil {
				return conn, nil
			}
			_ = conn.Close() // it is nobody to talk to
		}
	}
}

// peer is who is at the other end (SO_PEERCRED, unix(7)).
func peer(conn *net.UnixConn) (cred *syscall.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	control := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	return cred, errors.Join(control, err)
}
