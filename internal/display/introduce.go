package display

import (
	"errors"
	"fmt"

	"xexit/internal/display/x11"
	"xexit/internal/linux"
)

// setupRefusal carries a refusal out of Feed.
type setupRefusal struct{ x11.Refused }

func eventOutcome(err error) Outcome {
	var r setupRefusal
	switch {
	case errors.Is(err, errOther):
		return OtherDisplay
	case !errors.As(err, &r):
		return Dropped
	case r.TooMany():
		return Full
	}
	return NoEntry
}

// introduce is the conversation up to joined.
func (c *client) introduce(e x11.Event) error {
	switch e := e.(type) {
	case x11.Refused:
		return setupRefusal{e}
	case x11.SetupDone:
		c.greet(e)
	case x11.AtomReply:
		c.atoms[e.Tag-tagAtomValue] = e.Atom
		if e.Tag == tagAtomMark {
			c.mark()
			c.conn.GetProperty(tagToken, c.root, c.atoms[1], tokenSize)
			c.conn.GetProperty(tagValue, c.root, c.atoms[0], maxValue)
		}
	case x11.ExtensionReply:
		if e.Present {
			c.conn.QueryResourceVersion(tagVersion, e.Major)
		}
	case x11.VersionReply:
		c.xres = e.Major > 1 || e.Major == 1 && e.Minor >= 2
	case x11.PropertyReply:
		return c.property(e)
	case x11.ErrorReply:
		if e.Tag >= tagAtomValue && e.Tag <= tagAtomMark || e.Tag == tagToken || e.Tag == tagValue {
			return fmt.Errorf("request %d refused with error %d: %w", e.Opcode, e.Code, x11.ErrProtocol)
		}
	}
	return nil
}

func (c *client) greet(s x11.SetupDone) {
	c.setup = s
	c.root = s.Roots[0]
	if c.screen < len(s.Roots) {
		c.root = s.Roots[c.screen]
	}
	c.conn.CreateHiddenWindow(firstID(s.ResourceBase, s.ResourceMask), c.root)
	if c.link == Local {
		// Over a network a busy root window would cost more than the poll
		// does, and an untrusted client is never told.
		c.conn.WatchProperties(c.root)
	}
	// Asked in this order, the answer that everything waits for comes last.
	c.conn.QueryExtension(tagExtension, "X-Resource")
	c.conn.InternAtom(tagAtomValue, propertyValue)
	c.conn.InternAtom(tagAtomToken, propertyToken)
	c.conn.InternAtom(tagAtomMark, propertyMark)
}

// firstID is the first resource id of a client.
func firstID(base, mask uint32) uint32 { return base | mask&-mask }

func (c *client) mark() {
	window := firstID(c.setup.ResourceBase, c.setup.ResourceMask)
	c.conn.ChangeProperty(x11.Replace, window, c.atoms[2], x11.AtomString, []byte(markValue))
}

// property takes the token and then the value.
func (c *client) property(p x11.PropertyReply) error {
	if p.Tag == tagValue {
		c.value = command(p)
		if c.token != "" {
			c.ready = true
			c.to.joined(c)
		}
		return nil
	}
	if p.Type == 0 && c.want == "" {
		// Two watchers may come here at once, so the token is appended: of
		// what both wrote, both read the same first one.
		token, err := newToken()
		if err != nil {
			return err
		}
		c.conn.ChangeProperty(x11.Append, c.root, c.atoms[1], x11.AtomString, []byte(token))
		c.conn.GetProperty(tagToken, c.root, c.atoms[1], tokenSize)
		c.conn.GetProperty(tagValue, c.root, c.atoms[0], maxValue)
		return nil
	}
	c.token = fmt.Sprint(p.Type, " ", p.Format, " ", string(p.Value))
	if c.want != "" && c.token != c.want {
		return errOther
	}
	return nil
}

func newToken() (string, error) {
	var raw [tokenSize / 2]byte
	if err := linux.Random(raw[:]); err != nil {
		return "", err
	}
	const digits = "0123456789abcdef"
	text := make([]byte, 0, tokenSize)
	for _, b := range raw {
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text), nil
}

// command is the value of LTSP_XEXIT: of format 8 only, of whatever type. Some
// tools count the NUL in.
func command(p x11.PropertyReply) string {
	if p.Format != 8 {
		return ""
	}
	v := p.Value
	if n := len(v); n > 0 && v[n-1] == 0 {
		v = v[:n-1]
	}
	return string(v)
}
