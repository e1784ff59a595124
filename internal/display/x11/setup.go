package x11

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Setup is what a server says of itself when it lets a client in.
type Setup struct {
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

const protocolMajor = 11

// setupReader takes a set-up reply in, piece by piece: of up to 256 kB only the
// piece at hand is kept, and what it told.
//
//	head ─▶ fixed part, vendor, formats ─▶ screen ─▶ depth, visuals ─▶ depth … ─▶ screen …
//	  └──▶ reason
type setupReader struct {
	in   []byte // of the piece at hand
	need int    // its size
	skip int    // to be passed over before it
	left int    // of the reply, beyond that

	step            func(s *setupReader, piece []byte) (Event, error) // what to do with it
	reason          int
	screens, depths int
	setup           Setup
}

// Sizes of the parts of a set-up reply.
const (
	setupHead   = 8
	setupFixed  = 32
	formatSize  = 8
	screenSize  = 40
	depthSize   = 8
	visualSize  = 24
	mostWords   = 200 // of a reason
	reasonPiece = 256
)

func newSetupReader() *setupReader {
	return &setupReader{need: setupHead, step: (*setupReader).head}
}

// feed takes bytes until the reply is complete.
func (s *setupReader) feed(p []byte) (rest []byte, e Event, err error) {
	for {
		n := min(s.skip, len(p))
		s.skip, p = s.skip-n, p[n:]
		if s.skip > 0 {
			return p, nil, nil
		}
		n = min(s.need-len(s.in), len(p))
		s.in, p = append(s.in, p[:n]...), p[n:]
		if len(s.in) < s.need {
			return p, nil, nil
		}
		piece := s.in
		s.in = s.in[:0]
		if e, err = s.step(s, piece); e != nil || err != nil {
			return p, e, err
		}
	}
}

// pass skips n bytes of the reply.
func (s *setupReader) pass(n int) {
	s.left -= n
	s.skip += n
}

// next is what the next n bytes are for.
func (s *setupReader) next(n int, step func(*setupReader, []byte) (Event, error)) (Event, error) {
	s.left -= n
	s.need, s.step = n, step
	if s.left < 0 {
		return nil, fmt.Errorf("set-up reply breaks off: %w", ErrProtocol)
	}
	return nil, nil
}

func (s *setupReader) head(p []byte) (Event, error) {
	s.left = 4 * int(binary.LittleEndian.Uint16(p[6:]))
	switch p[0] {
	case setupFailed:
		s.reason = min(int(p[1]), s.left)
		return s.next(min(s.left, reasonPiece), (*setupReader).refused)
	case setupAuthenticate:
		s.reason = -1
		return s.next(min(s.left, reasonPiece), (*setupReader).refused)
	case setupSuccess:
		if major := binary.LittleEndian.Uint16(p[2:]); major != protocolMajor {
			return nil, fmt.Errorf("set-up reply of protocol version %d: %w", major, ErrProtocol)
		}
		return s.next(setupFixed, (*setupReader).fixed)
	}
	return nil, fmt.Errorf("set-up reply of unknown kind %d: %w", p[0], ErrProtocol)
}

// refused: the reason may be longer than what is kept of it.
func (s *setupReader) refused(p []byte) (Event, error) {
	s.pass(s.left)
	if s.reason >= 0 {
		return Refused{Reason: printable(p[:min(s.reason, len(p))])}, nil
	}
	return Refused{Reason: printable(p), Authenticate: true}, nil
}

func (s *setupReader) fixed(p []byte) (Event, error) {
	s.setup.ResourceBase = binary.LittleEndian.Uint32(p[4:])
	s.setup.ResourceMask = binary.LittleEndian.Uint32(p[8:])
	vendor := int(binary.LittleEndian.Uint16(p[16:]))
	s.screens = int(p[20])
	formats := int(p[21])
	s.pass(pad4(vendor) + formats*formatSize)
	return s.screenOrEnd()
}

func (s *setupReader) screenOrEnd() (Event, error) {
	if s.screens > 0 {
		s.screens--
		return s.next(screenSize, (*setupReader).screen)
	}
	e, err := s.next(0, (*setupReader).end)
	s.pass(s.left) // what comes behind the screens
	return e, err
}

func (s *setupReader) screen(p []byte) (Event, error) {
	s.setup.Roots = append(s.setup.Roots, binary.LittleEndian.Uint32(p))
	s.depths = int(p[39])
	return s.depthOrScreen()
}

func (s *setupReader) depthOrScreen() (Event, error) {
	if s.depths > 0 {
		s.depths--
		return s.next(depthSize, (*setupReader).depth)
	}
	return s.screenOrEnd()
}

func (s *setupReader) depth(p []byte) (Event, error) {
	s.pass(int(binary.LittleEndian.Uint16(p[2:])) * visualSize)
	return s.depthOrScreen()
}

func (s *setupReader) end([]byte) (Event, error) {
	u := s.setup
	if len(u.Roots) == 0 || u.ResourceMask == 0 || u.ResourceBase&u.ResourceMask != 0 {
		return nil, fmt.Errorf("set-up reply with %d screens, id base %#x, mask %#x: %w",
			len(u.Roots), u.ResourceBase, u.ResourceMask, ErrProtocol)
	}
	return SetupDone(u), nil
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
	p = p[:min(len(p), mostWords)]
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
