package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine bounds one line, in bytes, and so what an end of ten thousand
// processes or a talkative hook can do to the file.
const maxLine = 256 << 10

// encode makes the line of r, newline included. A line beyond maxLine first
// loses output, then the processes that were not touched, then others; what is
// left out is counted or marked.
func encode(r Record) ([]byte, error) {
	r.V = Version
	line, err := marshal(r)
	if err != nil || len(line) <= maxLine {
		return line, err
	}
	r = withoutOutput(r)
	for {
		line, err = marshal(r)
		if err != nil || len(line) <= maxLine {
			return line, err
		}
		switch {
		case len(r.Undecided) > 0:
			r.Omitted += len(r.Undecided) - len(r.Undecided)/2
			r.Undecided = r.Undecided[:len(r.Undecided)/2]
		case len(r.Processes) > 0:
			r.Omitted += len(r.Processes) - len(r.Processes)/2
			r.Processes = r.Processes[:len(r.Processes)/2]
		case len(r.Survivors) > 0:
			r.Omitted += len(r.Survivors) - len(r.Survivors)/2
			r.Survivors = r.Survivors[:len(r.Survivors)/2]
		default:
			return nil, fmt.Errorf("encode record %s: %d bytes are more than %d", r.ID, len(line), maxLine)
		}
	}
}

// withoutOutput cuts every output to its beginning.
func withoutOutput(r Record) Record {
	const rest = 1 << 10
	cut := func(text string, truncated *bool) string {
		if len(text) <= rest {
			return text
		}
		*truncated = true
		return strings.ToValidUTF8(text[:rest], "")
	}
	r.Output = cut(r.Output, &r.Truncated)
	hooks := make([]Hook, len(r.Hooks))
	for i, h := range r.Hooks {
		h.Output = cut(h.Output, &h.Truncated)
		hooks[i] = h
	}
	r.Hooks = hooks
	return r
}

// marshal writes r such that the file is safe to cat: characters that are not
// printable, which JSON allows in a string from DEL upwards, are escaped too.
func marshal(r Record) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("encode record %s: %w", r.ID, err)
	}
	line := out.Bytes()
	safe := make([]byte, 0, len(line))
	for len(line) > 0 {
		c, size := utf8.DecodeRune(line)
		switch {
		case c < 0x7f || unicode.IsPrint(c):
			safe = append(safe, line[:size]...)
		case c > 0xffff:
			high, low := (c-0x10000)>>10+0xd800, (c-0x10000)&0x3ff+0xdc00
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, c)
		}
		line = line[size:]
	}
	return safe, nil
}

// Bytes turns output that may not be UTF-8 into text that survives JSON:
// bytes that are none become \xNN.
func Bytes(output []byte) string {
	if utf8.Valid(output) {
		return string(output)
	}
	var text strings.Builder
	for len(output) > 0 {
		c, size := utf8.DecodeRune(output)
		if c == utf8.RuneError && size == 1 {
			fmt.Fprintf(&text, `\x%02x`, output[0])
		} else {
			text.Write(output[:size])
		}
		output = output[size:]
	}
	return text.String()
}
