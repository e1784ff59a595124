// Package xwire is as much of an X11 client as test programs need: set-up,
// with the cookie of the Xauthority file, and requests that are answered or
// not (X Window System Protocol, release 7.7). It has nothing in common with
// the client of xexit itself, so that one does not test itself. What the
// programs do with it belongs to them.
package xwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

// Conn is one connection. One goroutine may use it.
type Conn struct {
	net.Conn
	Root       uint32 // window of the first screen
	Base, Mask uint32 // of the ids that are this client's
}

// RefusedError is the server's refusal of a client.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the server refused: " + e.Reason }

// Full reports whether the server has no room for another client.
func (e *RefusedError) Full() bool { return strings.Contains(e.Reason, "Maximum number of clients") }

// ErrRequest reports that the server answered a request with an error.
var ErrRequest = errors.New("the request failed")

// Open connects to a display as its users name it.
func Open(display string) (*Conn, error) {
	host, number, ok := cutLast(display, ":")
	number, _, _ = strings.Cut(number, ".")
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		return nil, fmt.Errorf("%q is no display", display)
	}
	conn, err := dial(strings.Trim(host, "[]"), n)
	if err != nil {
		return nil, err
	}
	cookie, err := cookieOf(number)
	if err == nil {
		c := &Conn{Conn: conn}
		if err = c.setUp(cookie); err == nil {
			return c, nil
		}
	}
	return nil, errors.Join(err, conn.Close())
}

func cutLast(text, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

func dial(host string, number int) (net.Conn, error) {
	if host == "" || host == "unix" {
		return net.Dial("unix", "/tmp/.X11-unix/X"+strconv.Itoa(number))
	}
	return net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(6000+number)))
}

// cookieOf reads the file's entry for a display number. Whose address it is
// for does not matter to programs that know one host. No file: no cookie.
func cookieOf(number string) ([]byte, error) {
	name := os.Getenv("XAUTHORITY")
	if name == "" {
		name = os.Getenv("HOME") + "/.Xauthority"
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for err == nil && len(data) > 0 {
		var fields [4][]byte // address, number, name, cookie; after a family
		rest := data[min(2, len(data)):]
		for i := range fields {
			if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
				return nil, fmt.Errorf("%s is cut short", name)
			}
			length := int(binary.BigEndian.Uint16(rest))
			fields[i], rest = rest[2:2+length], rest[2+length:]
		}
		data = rest
		if n := string(fields[1]); n == "" || n == number {
			return fields[3], nil
		}
	}
	return nil, err
}

func pad(n int) int { return (n + 3) &^ 3 }

func (c *Conn) setUp(cookie []byte) error {
	protocol := "MIT-MAGIC-COOKIE-1"
	if len(cookie) == 0 {
		protocol = ""
	}
	b := []byte("l\x00")
	for _, n := range []int{11, 0, len(protocol), len(cookie), 0} {
		b = binary.LittleEndian.AppendUint16(b, uint16(n))
	}
	b = append(b, protocol...)
	b = append(b, make([]byte, pad(len(protocol))-len(protocol))...)
	if _, err := c.Write(append(b, cookie...)); err != nil {
		return err
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	rest := make([]byte, 4*int(binary.LittleEndian.Uint16(head[6:])))
	if _, err := io.ReadFull(c, rest); err != nil {
		return err
	}
	if head[0] != 1 {
		return &RefusedError{string(bytes.TrimRight(rest[:min(int(head[1]), len(rest))], "\x00\n"))}
	}
	const fixed, format = 32, 8
	if len(rest) < fixed {
		return io.ErrUnexpectedEOF
	}
	c.Base, c.Mask = binary.LittleEndian.Uint32(rest[4:]), binary.LittleEndian.Uint32(rest[8:])
	screens := fixed + pad(int(binary.LittleEndian.Uint16(rest[16:]))) + format*int(rest[21])
	if len(rest) < screens+4 {
		return io.ErrUnexpectedEOF
	}
	c.Root = binary.LittleEndian.Uint32(rest[screens:])
	return nil
}

// Request is a request of an opcode, its second byte and whole words.
func Request(opcode, detail byte, words ...uint32) []byte {
	b := []byte{opcode, detail}
	b = binary.LittleEndian.AppendUint16(b, uint16(1+len(words)))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// Opcodes of requests.
const (
	CreateWindow  = 1
	QueryTree     = 15
	GrabServer    = 36
	UngrabServer  = 37
	GetInputFocus = 43
	QueryExt      = 98
	KillClient    = 113
)

// Ask sends requests, of which the last one has an answer, and reads that.
// Events are passed over.
func (c *Conn) Ask(requests ...[]byte) ([]byte, error) {
	if _, err := c.Write(bytes.Join(requests, nil)); err != nil {
		return nil, err
	}
	return c.Answer()
}

// Answer reads the next answer.
func (c *Conn) Answer() ([]byte, error) {
	for {
		head := make([]byte, 32)
		if _, err := io.ReadFull(c, head); err != nil {
			return nil, err
		}
		const failed, answered = 0, 1
		switch head[0] {
		case failed:
			return nil, fmt.Errorf("error %d to request %d: %w", head[1], head[10], ErrRequest)
		case answered:
			rest := make([]byte, 4*int(binary.LittleEndian.Uint32(head[4:])))
			_, err := io.ReadFull(c, rest)
			return append(head, rest...), err
		}
	}
}

// Window makes a window that is never seen, by which others find this client.
func (c *Conn) Window() []byte {
	const inputOnly = 2
	return Request(CreateWindow, 0, c.Base|c.Mask&-c.Mask, c.Root, 0, 1<<16|1, inputOnly<<16, 0, 0)
}

// Drop has the server close the connections of a process of this host, and
// counts them. It finds only those that have a window below the root.
func (c *Conn) Drop(pid uint32) (dropped int, err error) {
	bases, err := c.clientsOf(pid)
	if err != nil {
		return 0, err
	}
	tree, err := c.Ask(Request(QueryTree, 0, c.Root))
	if err != nil {
		return 0, err
	}
	for _, base := range bases {
		for at := 32; at+4 <= len(tree); at += 4 {
			if id := binary.LittleEndian.Uint32(tree[at:]); id&^c.Mask == base {
				if _, err := c.Ask(Request(KillClient, 0, id), Request(GetInputFocus, 0)); err != nil {
					return dropped, err
				}
				dropped++
				break
			}
		}
	}
	return dropped, nil
}

// clientsOf asks X-Resource 1.2 (QueryClientIds) whose ids are a process'.
func (c *Conn) clientsOf(pid uint32) (bases []uint32, err error) {
	const name = "X-Resource"
	ask := Request(QueryExt, 0, uint32(len(name)), 0, 0, 0)
	copy(ask[8:], name)
	major, err := c.Ask(ask)
	if err != nil {
		return nil, err
	}
	const queryClientIDs, localPID, everybody = 4, 1 << 1, 0
	list, err := c.Ask(Request(major[9], queryClientIDs, 1, everybody, localPID))
	if err != nil {
		return nil, err
	}
	for at := 32; at+12 <= len(list); {
		base, length := binary.LittleEndian.Uint32(list[at:]), int(binary.LittleEndian.Uint32(list[at+8:]))
		if length == 4 && at+16 <= len(list) && binary.LittleEndian.Uint32(list[at+12:]) == pid {
			bases = append(bases, base)
		}
		at += 12 + length
	}
	return bases, nil
}
