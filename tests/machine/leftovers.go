package machine

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// listen takes the announcements of leftovers: each connects once it is what
// it means to be, says its name, and goes on when it has an answer. The kernel
// says who it is.
func (m *Machine) listen() {
	for {
		conn, err := m.announce.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			name, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil {
				return
			}
			ref, err := peer(conn)
			if err != nil {
				fmt.Fprintf(os.Stderr, "leftover %q: %v\n", name, err)
				return
			}
			m.Know(strings.TrimSpace(name), ref)
			_, _ = conn.Write([]byte("ok\n"))
		}()
	}
}

// Listener refers to the process that listens at a socket of the machine.
func (m *Machine) Listener(socket string) (*Ref, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: m.Path(socket), Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return peer(conn)
}

// peer makes a reference to who is connected. It waits for our answer and so
// cannot have ended and left its number to another.
func peer(conn *net.UnixConn) (*Ref, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	if credErr != nil {
		return nil, credErr
	}
	fd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open %d: %w", cred.Pid, err)
	}
	return NewRef(0, os.NewFile(uintptr(fd), "pidfd"))
}

// Know remembers a process under a name; a name may have many.
func (m *Machine) Know(name string, ref *Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[name] = append(m.known[name], ref)
	close(m.changed)
	m.changed = make(chan struct{})
}

// Refs are the processes known under a name so far.
func (m *Machine) Refs(name string) []*Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.known[name])
}

// Forget lets go of the processes known under a name.
func (m *Machine) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.known[name] {
		_ = r.fd.Close()
	}
	delete(m.known, name)
}

// Await waits until n processes are known under the name.
func (m *Machine) Await(name string, n int) ([]*Ref, error) {
	guard := time.NewTimer(Guard)
	defer guard.Stop()
	for {
		m.mu.Lock()
		refs, changed := slices.Clone(m.known[name]), m.changed
		m.mu.Unlock()
		if len(refs) >= n {
			return refs, nil
		}
		select {
		case <-changed:
		case <-guard.C:
			return nil, fmt.Errorf("hang guard: %d of %d processes called %s have announced themselves", len(refs), n, name)
		}
	}
}
