package display

import (
	"fmt"
	"strconv"
	"strings"

	"xexit/internal/display/x11"
	"xexit/internal/linux"
)

// setupRefusal carries a refusal out of Feed.
type setupRefusal struct{ x11.Refused }

// introduce is the conversation up to joined.
func (x *x11Protocol) introduce(e x11.Event) error {
	switch e := e.(type) {
	case x11.Refused:
		return setupRefusal{e}
	case x11.SetupDone:
		x.greet(e)
	case x11.AtomReply:
		return x.atom(e)
	case x11.ExtensionReply:
		if e.Present {
			x.QueryResourceVersion(tagVersion, e.Major)
		}
	case x11.VersionReply:
		x.client.countable = x.client.countable || e.Major > 1 || e.Major == 1 && e.Minor >= 2
	case x11.Absent:
		return x.property(x11.PropertyReply{Tag: e.Tag})
	case x11.PropertyReply:
		return x.property(e)
	case x11.ErrorReply:
		if needed(e.Tag) {
			return fmt.Errorf("request %d refused with error %d: %w", e.Opcode, e.Code, x11.ErrProtocol)
		}
	case x11.Unexpected:
		if needed(e.Tag) {
			return fmt.Errorf("an answer that makes no sense: %w", x11.ErrProtocol)
		}
	}
	return nil
}

// needed: without an answer to this there is no introduction.
func needed(tag x11.Tag) bool {
	return tag >= tagAtomValue && tag <= tagAtomOwn || tag == tagToken || tag == tagValue
}

func (x *x11Protocol) greet(s x11.SetupDone) {
	x.base, x.mask = s.ResourceBase, s.ResourceMask
	x.root = s.Roots[0]
	if x.screen < len(s.Roots) {
		x.root = s.Roots[x.screen]
	}
	x.CreateHiddenWindow(firstID(s.ResourceBase, s.ResourceMask), x.root)
	x.client.countable = x.client.link == Relayed
	if x.client.link == Local {
		// Over a network a busy root window would cost more than the poll
		// does, and an untrusted client is never told.
		x.WatchProperties(x.root)
	}
	// Asked in this order, the answer that everything waits for comes last.
	x.QueryExtension(tagExtension, "X-Resource")
	x.InternAtom(tagAtomValue, propertyValue)
	x.InternAtom(tagAtomToken, propertyToken)
	x.InternAtom(tagAtomMark, propertyMark)
}

// firstID is the first resource id of a client.
func firstID(base, mask uint32) uint32 { return base | mask&-mask }

func (x *x11Protocol) mark() {
	window := firstID(x.base, x.mask)
	x.ChangeProperty(x11.Replace, window, x.atoms[2], x11.AtomString, []byte(markValue))
}

// atom takes the atoms; with the last of them it can be asked for the token.
func (x *x11Protocol) atom(a x11.AtomReply) error {
	if a.Tag == tagAtomOwn {
		if a.Atom == 0 {
			return fmt.Errorf("%w: it does not know our atom", errOther)
		}
		x.client.token = x.own
		return nil
	}
	x.atoms[a.Tag-tagAtomValue] = a.Atom
	if a.Tag != tagAtomMark {
		return nil
	}
	x.mark()
	if strings.HasPrefix(x.want, atomOwn) {
		x.own = x.want
		x.FindAtom(tagAtomOwn, x.own)
	} else {
		x.GetProperty(tagToken, x.root, x.atoms[1], tokenSize)
	}
	x.GetProperty(tagValue, x.root, x.atoms[0], maxValue)
	return nil
}

// property takes the token and then the value.
func (x *x11Protocol) property(p x11.PropertyReply) error {
	if p.Tag == tagValue {
		x.client.value = command(p)
		if x.client.token != "" {
			return x.client.join()
		}
		return nil
	}
	if p.Type == 0 && x.own != "" {
		// It was written and is not there: an untrusted client (ssh -X) may not
		// write on the root window. But it may make atoms, and they go with the
		// generation of the server, too (SECURITY extension specification).
		x.InternAtom(tagAtomOwn, x.own)
		x.GetProperty(tagValue, x.root, x.atoms[0], maxValue)
		return nil
	}
	if p.Type == 0 && x.want == "" {
		// Two watchers may come here at once, so the token is appended: of
		// what both wrote, both read the same first one.
		token, err := newToken()
		if err != nil {
			return err
		}
		x.own = atomOwn + token
		x.ChangeProperty(x11.Append, x.root, x.atoms[1], x11.AtomString, []byte(token))
		x.GetProperty(tagToken, x.root, x.atoms[1], tokenSize)
		x.GetProperty(tagValue, x.root, x.atoms[0], maxValue)
		return nil
	}
	x.client.token = strconv.FormatUint(uint64(p.Type), 10) + " " + strconv.Itoa(int(p.Format)) + " " + string(p.Value)
	if x.want != "" && x.client.token != x.want {
		return fmt.Errorf("%w: its %s is not ours", errOther, propertyToken)
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
