package guest

import (
	"bufio"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// listen takes the announcements of cmd/leftover.
func (g *Guest) listen() error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: machine.Announce, Net: "unix"})
	if err != nil {
		return err
	}
	if err := os.Chmod(machine.Announce, 0o777); err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go g.know(conn)
		}
	}()
	return nil
}

// know: it waits for the answer, so its number is not another's yet.
func (g *Guest) know(conn *net.UnixConn) {
	defer conn.Close()
	name, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		pidfd, err := unix.PidfdOpen(int(cred.Pid), 0)
		if err != nil {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		name = strings.TrimSpace(name)
		g.leftovers[name] = append(g.leftovers[name], pidfd)
	})
	_, _ = conn.Write([]byte("ok\n"))
}

// Alive is how many processes that announced themselves by a name have done so
// and how many of them still run.
type Alive struct{ Announced, Running int }

// Leftovers counts those of a name.
func (g *Guest) Leftovers(name string, a *Alive) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, fd := range g.leftovers[name] {
		a.Announced++
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 0); err == nil && n == 0 {
			a.Running++
		}
	}
	return nil
}
