package x11

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Setup is what a server says of itself when it lets a client in.
type Setup struct {
	Vendor       string
	ResourceBase uint32   // of this client's resource ids, and so its name
	ResourceMask uint32   // the bits that are free below the base
	Roots        []uint32 // the root window of every screen
}

// refusal kinds of a set-up reply.
const (
	setupFailed       = 0
	setupSuccess      = 1
	setupAuthenticate = 2
)

// Refused is a server that answers and does not let the client in. It is
// alive.
type Refused struct {
	Reason       string // the server's words, printable
	Authenticate bool   // it wants a dialogue that cookies are not
}

// TooMany reports whether the server has no room for another client.
func (r Refused) TooMany() bool { return strings.Contains(r.Reason, "aximum number of clients") }

// Auth reports whether it is the cookie, or the lack of one, that was refused.
// The X.Org servers say 'Invalid MIT-MAGIC-COOKIE-1 key', 'Authorization
// required, but no authorization protocol specified' and 'Client is not
// authorized to connect to Server'; old ones 'No protocol specified'.
func (r Refused) Auth() bool {
	reason := strings.ToLower(r.Reason)
	for _, word := range []string{"authoriz", "magic-cookie", "no protocol specified", "authentication"} {
		if strings.Contains(reason, word) {
			return true
		}
	}
	return r.Authenticate
}

func (r Refused) Error() string {
	if r.Reason == "" {
		return "the server refused the connection without a reason"
	}
	return "the server refused the connection: " + r.Reason
}

// setupHead is how much of a set-up reply is needed to know its length.
const setupHead = 8

// setupSize tells how long a set-up reply is from its head. What is no such
// reply has a head only: there is no point in waiting for more.
func setupSize(head []byte) int {
	if head[0] > setupAuthenticate || head[0] == setupSuccess && binary.LittleEndian.Uint16(head[2:]) != protocolMajor {
		return setupHead
	}
	return setupHead + 4*int(binary.LittleEndian.Uint16(head[6:]))
}

const protocolMajor = 11

// parseSetup reads a whole set-up reply.
func parseSetup(p []byte) (Event, error) {
	body := p[setupHead:]
	switch p[0] {
	case setupFailed:
		return Refused{Reason: printable(body[:min(int(p[1]), len(body))])}, nil
	case setupAuthenticate:
		return Refused{Reason: printable(body), Authenticate: true}, nil
	case setupSuccess:
		return parseSuccess(p)
	}
	return nil, fmt.Errorf("set-up reply of unknown kind %d: %w", p[0], ErrProtocol)
}

func parseSuccess(p []byte) (Event, error) {
	if major := binary.LittleEndian.Uint16(p[2:]); major != protocolMajor {
		return nil, fmt.Errorf("set-up reply of protocol version %d: %w", major, ErrProtocol)
	}
	const fixed, formatSize, screenSize, depthSize, visualSize = 40, 8, 40, 8, 24
	r := reader{rest: p}
	head := r.take(fixed)
	if head == nil {
		return nil, fmt.Errorf("set-up reply of %d bytes: %w", len(p), ErrProtocol)
	}
	s := SetupDone{ResourceBase: binary.LittleEndian.Uint32(head[12:]), ResourceMask: binary.LittleEndian.Uint32(head[16:])}
	vendor := int(binary.LittleEndian.Uint16(head[24:]))
	screens, formats := int(head[28]), int(head[29])
	if v := r.take(pad4(vendor)); v != nil {
		s.Vendor = printable(v[:vendor])
	}
	r.take(formats * formatSize)
	for range screens {
		screen := r.take(screenSize)
		if screen == nil {
			break
		}
		s.Roots = append(s.Roots, binary.LittleEndian.Uint32(screen))
		for range int(screen[39]) {
			if depth := r.take(depthSize); depth != nil {
				r.take(int(binary.LittleEndian.Uint16(depth[2:])) * visualSize)
			}
		}
	}
	if r.short {
		return nil, fmt.Errorf("set-up reply breaks off within %d bytes: %w", len(p), ErrProtocol)
	}
	if len(s.Roots) == 0 || s.ResourceMask == 0 || s.ResourceBase&s.ResourceMask != 0 {
		return nil, fmt.Errorf("set-up reply with %d screens, id base %#x, mask %#x: %w",
			len(s.Roots), s.ResourceBase, s.ResourceMask, ErrProtocol)
	}
	return s, nil
}

// reader takes bytes off the front and remembers if there were too few.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short = true
		return nil
	}
	p := r.rest[:n:n]
	r.rest = r.rest[n:]
	return p
}

// printable makes a server's words fit for a log: one line, ASCII, bounded.
func printable(p []byte) string {
	const most = 200
	p = p[:min(len(p), most)]
	out := make([]byte, 0, len(p))
	for _, c := range p {
		switch {
		case c == 0:
		case c < ' ' || c > '~':
			out = append(out, ' ')
		default:
			out = append(out, c)
		}
	}
	return strings.TrimSpace(string(out))
}
