//go:build realtime

package display

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
)

// forwarded is an X server at the other end of a cable, and a login by ssh from
// there to here with X11 forwarding: the watcher's display is sshd's.
//
//	here ── watcher ── sshd ═══ cable ═══ ssh ── Xvfb ── there
//	                      └─ relay ─┘
type forwarded struct {
	*far
	ssh     *exec.Cmd
	gone    chan struct{} // ssh has exited
	sshd    *os.Process   // the login's
	options Options
	hangUp  io.Closer // ssh's standard input
}

// login is how to log in.
type login struct {
	untrusted bool // -X instead of -Y
	relayed   bool // a TCP relay of ours lies between the cable and sshd
	named     bool // X11UseLocalhost no: the display is at this host's own address
}

// forward logs in; net is a number of its own.
func forward(t *testing.T, net int, how login) *forwarded {
	t.Helper()
	need(t, "ip", "nft", "Xvfb", "ssh", "ssh-keygen", "xauth")
	f := &forwarded{far: startSpace(t, net), gone: make(chan struct{})}
	// ssh knows only the path, which all network namespaces share: a number that
	// nobody else takes.
	number := 20000 + os.Getpid()%400*100 + net
	f.xvfb = startXvfb(t, []string{"ip", "netns", "exec", f.space}, "-ac", "-noreset", fmt.Sprintf(":%d", number))
	dir := t.TempDir()
	address := here(net)
	if how.relayed {
		address = fmt.Sprintf("127.0.%d.1", net) // the relay's own, too
	}
	port := f.startSSHD(dir, address, how)
	if how.relayed {
		port = relay(t, here(net), fmt.Sprintf("%s:%d", address, port))
	}
	f.login(dir, how, net, port)
	return f
}

// startSSHD starts one of our own at an address that no other test uses: nobody
// takes the port between its being chosen and its being bound.
func (f *forwarded) startSSHD(dir, address string, how login) (port int) {
	t := f.t
	t.Helper()
	server := "/usr/sbin/sshd"
	if _, err := os.Stat(server); err != nil {
		cannot(t, err)
	}
	port = freePort(t, address)
	f.do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "host"))
	f.do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "user"))
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("ListenAddress %s:%d\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nPidFile none\nUsePAM no\nStrictModes no\n"+
		"PermitRootLogin yes\nX11Forwarding yes\nX11DisplayOffset 140\nSetEnv XAUTHORITY=%s/xauth\n",
		address, port, dir, dir, dir)
	if how.named {
		config += "X11UseLocalhost no\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	sshd := exec.Command(server, "-D", "-e", "-f", filepath.Join(dir, "config"))
	sshd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := sshd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sshd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if strings.Contains(lines.Text(), "listening on") {
				select {
				case listening <- lines.Text():
				default:
				}
			}
		}
		close(listening)
	}()
	t.Cleanup(func() {
		_ = sshd.Process.Kill()
		for range listening { // its children hold the pipe until they are gone
		}
		_ = sshd.Wait()
	})
	select {
	case line, ok := <-listening:
		if !ok {
			t.Fatalf("sshd did not start: %q", line)
		}
	case <-time.After(guard):
		t.Fatal("sshd does not listen")
	}
	return port
}

func freePort(t *testing.T, address string) int {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// login logs in from there and leaves the login open.
func (f *forwarded) login(dir string, how login, net, port int) {
	t := f.t
	t.Helper()
	forwarding := "-Y"
	if how.untrusted {
		forwarding = "-X"
	}
	f.ssh = exec.Command("ip", "netns", "exec", f.space, "ssh", forwarding, "-F", "none", "-i", dir+"/user",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
		"-p", strconv.Itoa(port), "root@"+here(net),
		"echo $PPID; echo $DISPLAY; echo $SSH_CONNECTION; exec cat")
	f.ssh.Env = append(os.Environ(), fmt.Sprintf("DISPLAY=:%d", f.number), "XAUTHORITY="+dir+"/theirs")
	f.ssh.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var complaint bytes.Buffer
	f.ssh.Stderr = &complaint
	input, err := f.ssh.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := f.ssh.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ssh.Start(); err != nil {
		t.Fatal(err)
	}
	f.hangUp = input
	var said []string
	read := make(chan struct{})
	go func() {
		defer close(f.gone)
		lines := bufio.NewScanner(output)
		for len(said) < 3 && lines.Scan() {
			said = append(said, lines.Text())
		}
		close(read)
		_, _ = io.Copy(io.Discard, output)
		_ = f.ssh.Wait() // how it ended is the test's business
	}()
	t.Cleanup(func() {
		_ = f.ssh.Process.Kill()
		<-f.gone
	})
	select {
	case <-read:
	case <-time.After(guard):
		t.Fatal("ssh does not log in")
	}
	if len(said) != 3 {
		<-f.gone
		t.Fatalf("no login: %q, %v: %s", said, f.ssh.ProcessState, &complaint)
	}
	pid, err := strconv.Atoi(said[0])
	if err != nil {
		t.Fatal(err)
	}
	if f.sshd, err = os.FindProcess(pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.sshd.Kill() }) // by its pidfd; gone already, mostly
	if how.named {                          // by whatever name of this host: by the address that is certainly its
		_, number, _ := strings.Cut(said[1], ":")
		said[1] = here(net) + ":" + number
		list, err := exec.Command("xauth", "-f", dir+"/xauth", "list").Output()
		if err != nil || len(strings.Fields(string(list))) < 3 {
			t.Fatalf("%q, %v", list, err)
		}
		f.do("xauth", "-f", dir+"/xauth", "add", said[1], ".", strings.Fields(string(list))[2])
	}
	f.options = Options{Name: said[1], Connection: said[2], Authority: dir + "/xauth"}
}

// grab makes the server answer nobody else.
func (f *forwarded) grab() (ungrab func()) {
	f.t.Helper()
	sock, err := net.Dial("unix", fmt.Sprintf("/tmp/.X11-unix/X%d", f.number)) // the path leads there, too
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = sock.Close() })
	c := newRawClient(f.t, sock)
	c.request(opGrabServer)
	return func() { c.request(opUngrabServer) }
}

// carried is the kernel's view of the carrier.
func (f *forwarded) carried() linux.FlowInfo {
	f.t.Helper()
	flow, ok := parseConnection(f.options.Connection)
	if !ok {
		f.t.Fatalf("%q", f.options.Connection)
	}
	info, err := linux.LookFlow(flow)
	if err != nil {
		f.t.Fatal(err)
	}
	return info
}
