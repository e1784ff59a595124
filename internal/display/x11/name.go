package x11

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrBadName reports a text that names no X display.
var ErrBadName = errors.New("not the name of an X display (expected such as :0, host:1 or /path/to/socket)")

// Name is a display name, taken apart (X(7), DISPLAY NAMES).
type Name struct {
	Text   string
	Host   string // "" for a local display
	Number int
	Screen int
	Path   string // the socket itself, where the name is one; may end in ".SCREEN"
}

// maxNumber keeps 6000+Number within the TCP ports.
const maxNumber = 65535 - 6000

// ParseName accepts ":1", ":1.0", "unix:1", "host:1", "[::1]:1", "::1:1"
// and "/path/to/socket", also behind "unix:". The error is ErrBadName, wrapped
// with the text.
func ParseName(text string) (Name, error) {
	bad := func(why string) (Name, error) {
		return Name{}, fmt.Errorf("display %q: %s: %w", text, why, ErrBadName)
	}
	if strings.IndexByte(text, 0) >= 0 {
		return bad("it has a NUL in it")
	}
	if path := strings.TrimPrefix(text, "unix:"); strings.HasPrefix(path, "/") {
		return parsePath(text, path)
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return bad("no ':'")
	}
	n := Name{Text: text, Host: text[:colon]}
	number, screen, dotted := strings.Cut(text[colon+1:], ".")
	var ok bool
	if n.Number, ok = decimal(number); !ok || n.Number > maxNumber {
		return bad("no display number")
	}
	if n.Screen, ok = decimal(screen); dotted && (!ok || n.Screen > 255) {
		return bad("no screen number")
	}
	if strings.HasSuffix(n.Host, ":") {
		return bad("DECnet is not supported")
	}
	if host, ok := strings.CutPrefix(n.Host, "["); ok {
		if n.Host, ok = strings.CutSuffix(host, "]"); !ok || n.Host == "" {
			return bad("unbalanced '['")
		}
	}
	if n.Host == "unix" {
		n.Host = ""
	}
	// Some write tcp/host:1 and inet6/host:1, as Xlib's xtrans does.
	for _, transport := range []string{"tcp/", "inet/", "inet6/"} {
		n.Host = strings.TrimPrefix(n.Host, transport)
	}
	if strings.Contains(n.Host, "/") {
		return bad("unknown transport")
	}
	return n, nil
}

func parsePath(text, path string) (Name, error) {
	n := Name{Text: text, Path: path}
	// macOS style: /path/to/name:0, where ":0" is part of the file's name.
	if i := strings.LastIndexByte(path, ':'); i >= 0 {
		number, _, _ := strings.Cut(path[i+1:], ".")
		if v, ok := decimal(number); ok && v <= maxNumber {
			n.Number = v
		}
	}
	if _, screen, ok := n.cutScreen(); ok {
		n.Screen = screen
	}
	return n, nil
}

// cutScreen splits "/path.SCREEN". Whether the dot belongs to the file's name
// only the file system knows.
func (n Name) cutScreen() (path string, screen int, ok bool) {
	i := strings.LastIndexByte(n.Path, '.')
	if i < 0 {
		return n.Path, 0, false
	}
	screen, ok = decimal(n.Path[i+1:])
	return n.Path[:i], screen, ok && screen <= 255
}

// decimal is strict: digits only, at most six of them.
func decimal(s string) (int, bool) {
	if s == "" || len(s) > 6 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// Local reports whether the display is reached by a unix socket.
func (n Name) Local() bool { return n.Host == "" }

// Port is the display's TCP port.
func (n Name) Port() uint16 { return uint16(6000 + n.Number) }

// Sockets lists the unix sockets to try, in order; '@' starts an abstract one.
// A network namespace hides the abstract name and a private /tmp the path, so
// there are two.
func (n Name) Sockets() []string {
	if n.Path != "" {
		if path, _, ok := n.cutScreen(); ok {
			return []string{n.Path, path}
		}
		return []string{n.Path}
	}
	const path = "/tmp/.X11-unix/X"
	number := strconv.Itoa(n.Number)
	return []string{"@" + path + number, path + number}
}
