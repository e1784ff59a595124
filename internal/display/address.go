package display

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xexit/internal/display/x11"
	"xexit/internal/linux"
)

// address is one place to find a display's server.
type address struct {
	socket string // unix; '@' starts an abstract name
	ip     []byte // TCP, 4 or 16 bytes
	zone   uint32
	port   uint16
}

// dial starts a connection; pending: the outcome comes when it is writable.
func (a address) dial() (s *linux.Socket, pending bool, err error) {
	if a.socket != "" {
		s, err = linux.DialUnix(a.socket)
		return s, false, err
	}
	return linux.DialTCP(a.ip, a.zone, a.port)
}

// firstForwarded is where sshd begins (sshd_config(5), X11DisplayOffset).
const firstForwarded = 10

// link tells what can be known about the way to a display at this address.
func (a address) link(number int) Link {
	switch {
	case a.socket != "":
		return Local
	case a.loopback() && number >= firstForwarded:
		return Relayed
	}
	return Direct
}

func (a address) loopback() bool { return x11.Loopback(a.ip) }

// resolve lists the addresses of a display. Names of hosts are looked up once;
// only literals, 'localhost' and unix sockets need no help.
func resolve(ctx context.Context, n x11.Name) ([]address, error) {
	if n.Local() {
		var list []address
		for _, s := range n.Sockets() {
			list = append(list, address{socket: s})
		}
		return list, nil
	}
	texts := []string{n.Host}
	if n.Host == "localhost" {
		texts = []string{"127.0.0.1", "::1"}
	} else if ip, _ := parseIP(n.Host); ip == nil {
		var err error
		if texts, err = lookUp(ctx, n.Host); err != nil {
			return nil, err
		}
	}
	var list []address
	for _, text := range texts {
		if ip, zone := parseIP(text); ip != nil {
			list = append(list, address{ip: ip, zone: zone, port: n.Port()})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("look up host %q: no address", n.Host)
	}
	return list, nil
}

// lookUp asks getent(1), which asks what nsswitch.conf(5) names, LDAP and mDNS
// included. A resolver in this process would cost every watcher memory for
// what almost none of them needs: DISPLAY mostly holds an address or none.
func lookUp(ctx context.Context, host string) ([]string, error) {
	if strings.HasPrefix(host, "-") {
		return nil, fmt.Errorf("look up host %q: %w", host, x11.ErrBadName)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("look up host %q: %w", host, err)
	}
	defer read.Close()
	child, err := os.StartProcess("/usr/bin/getent", []string{"getent", "ahosts", host}, &os.ProcAttr{
		Files: []*os.File{nil, write, nil},
		Env:   []string{"PATH=/usr/bin:/bin"},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	write.Close()
	if err != nil {
		return nil, fmt.Errorf("look up host %q: %w", host, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = read.SetReadDeadline(time.Unix(1, 0)) })
	var texts []string
	for lines := bufio.NewScanner(read); lines.Scan() && len(texts) < maxAddresses; {
		if f := strings.Fields(lines.Text()); len(f) >= 2 && f[1] == "STREAM" {
			texts = append(texts, f[0])
		}
	}
	stop()
	_ = child.Kill() // by its pidfd; it has written all that is of use
	_, _ = child.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("look up host %q: %w", host, err)
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("look up host %q: %w", host, errNoHost)
	}
	return texts, nil
}

// maxAddresses bounds what a name server can make us try.
const maxAddresses = 8

var errNoHost = errors.New("no such host")

// parseIP reads an address literal: 4 bytes for IPv4, 16 for IPv6, which may
// have a zone; nil if it is none. net and net/netip would do this too, but
// their initialisation is paid for by every process that links them.
func parseIP(text string) (ip []byte, zone uint32) {
	if !strings.Contains(text, ":") {
		return parseIPv4(text), 0
	}
	text, name, zoned := strings.Cut(text, "%")
	if ip = parseIPv6(text); ip == nil || !zoned {
		return ip, 0
	}
	index, err := strconv.ParseUint(name, 10, 32)
	if err != nil && !strings.Contains(name, "/") {
		data, _ := os.ReadFile("/sys/class/net/" + name + "/ifindex")
		index, err = strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32)
	}
	if err != nil {
		return nil, 0
	}
	return ip, uint32(index)
}

func parseIPv4(text string) []byte {
	var ip []byte
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || len(ip) == 4 || len(part) > 1 && part[0] == '0' {
			return nil
		}
		ip = append(ip, byte(n))
	}
	if len(ip) != 4 {
		return nil
	}
	return ip
}

func parseIPv6(text string) []byte {
	head, tail, gap := strings.Cut(text, "::")
	front, ok := words(head, !gap)
	back, ok2 := words(tail, true)
	if !ok || !ok2 || len(front)+len(back) > 16 || !gap && len(front) != 16 || gap && len(front)+len(back) > 14 {
		return nil
	}
	ip := make([]byte, 16)
	copy(ip, front)
	copy(ip[16-len(back):], back)
	return ip
}

// words reads "a:b:c"; the last part of an address may be an IPv4 one.
func words(text string, last bool) (b []byte, ok bool) {
	if text == "" {
		return nil, true
	}
	for part := range strings.SplitSeq(text, ":") {
		if v4 := parseIPv4(part); v4 != nil && last && strings.HasSuffix(text, part) {
			return append(b, v4...), true
		}
		n, err := strconv.ParseUint(part, 16, 16)
		if err != nil || len(part) > 4 || len(b) >= 16 {
			return nil, false
		}
		b = append(b, byte(n>>8), byte(n))
	}
	return b, true
}
