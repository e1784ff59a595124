// Command grab holds XGrabServer on $DISPLAY, as window managers, menus and
// screen lockers do, until its stdin ends. It prints "grabbed" once the server
// has done it. Just enough of the protocol for that (X Window System Protocol,
// release 7.7) and no more.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

func main() {
	if err := grab(os.Getenv("DISPLAY")); err != nil {
		fmt.Fprintf(os.Stderr, "grab: %v\n", err)
		os.Exit(1)
	}
}

func grab(display string) error {
	conn, err := connect(display)
	if err != nil {
		return err
	}
	defer conn.Close()
	cookie, err := cookieOf(display)
	if err != nil {
		return err
	}
	if err := setUp(conn, cookie); err != nil {
		return err
	}
	const grabServer, getInputFocus = 36, 43
	if _, err := conn.Write([]byte{grabServer, 0, 1, 0, getInputFocus, 0, 1, 0}); err != nil {
		return err
	}
	// The answer to the second request proves that the first was carried out.
	if _, err := io.ReadFull(conn, make([]byte, 32)); err != nil {
		return err
	}
	fmt.Println("grabbed")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func connect(display string) (net.Conn, error) {
	host, number, _ := strings.Cut(display, ":")
	number, _, _ = strings.Cut(number, ".")
	if host == "" {
		return net.Dial("unix", "/tmp/.X11-unix/X"+number)
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	return net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(6000+n)))
}

func cookieOf(display string) ([]byte, error) {
	out, err := exec.Command("xauth", "list", display).Output()
	if err != nil {
		return nil, fmt.Errorf("xauth list: %w", err)
	}
	fields := strings.Fields(string(out))
	if len(fields) < 3 {
		return nil, errors.New("no cookie for " + display)
	}
	return hex.DecodeString(fields[2])
}

func setUp(conn net.Conn, cookie []byte) error {
	const protocol = "MIT-MAGIC-COOKIE-1"
	var b bytes.Buffer
	b.WriteString("l\x00")
	for _, n := range []int{11, 0, len(protocol), len(cookie), 0} {
		_ = binary.Write(&b, binary.LittleEndian, uint16(n))
	}
	b.WriteString(protocol + "\x00\x00")
	b.Write(cookie)
	if _, err := conn.Write(b.Bytes()); err != nil {
		return err
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	rest := make([]byte, 4*int(binary.LittleEndian.Uint16(head[6:])))
	if _, err := io.ReadFull(conn, rest); err != nil {
		return err
	}
	if head[0] != 1 {
		return fmt.Errorf("the server refused: %q", rest)
	}
	return nil
}
