package x11

import "encoding/binary"

// byteOrder is the first byte a client sends. The server follows it, so little
// endian will do on every machine.
const byteOrder = 'l'

// Opcodes (appendix B), of the requests that a watcher sends.
const (
	opCreateWindow           = 1
	opChangeWindowAttributes = 2
	opInternAtom             = 16
	opChangeProperty         = 18
	opGetProperty            = 20
	opQueryExtension         = 98
	opNoOperation            = 127
	xresQueryVersion         = 0
	xresQueryClientIDs       = 4
)

// Codes of packets.
const (
	packetError          = 0
	packetReply          = 1
	eventPropertyNotify  = 28
	eventGeneric         = 35
	packetSize           = 32
	eventMaskPropertyChg = 1 << 22
)

// Atoms that are the same on every server.
const (
	AtomAny    uint32 = 0
	AtomString uint32 = 31
)

// pad4 is n rounded up to whole words.
func pad4(n int) int { return (n + 3) &^ 3 }

// request appends a request of fixed words and a counted tail, padded.
func request(out []byte, opcode, data byte, words []uint32, tail []byte) []byte {
	length := 1 + len(words) + pad4(len(tail))/4
	out = append(out, opcode, data)
	out = binary.LittleEndian.AppendUint16(out, uint16(length))
	for _, w := range words {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	out = append(out, tail...)
	return append(out, make([]byte, pad4(len(tail))-len(tail))...)
}

// setupRequest is the first thing a client says.
func setupRequest(cookie []byte) []byte {
	name := ""
	if len(cookie) > 0 {
		name = CookieProtocol
	}
	out := []byte{byteOrder, 0, 11, 0, 0, 0}
	out = binary.LittleEndian.AppendUint16(out, uint16(len(name)))
	out = binary.LittleEndian.AppendUint16(out, uint16(len(cookie)))
	out = append(out, 0, 0)
	for _, s := range [][]byte{[]byte(name), cookie} {
		out = append(out, s...)
		out = append(out, make([]byte, pad4(len(s))-len(s))...)
	}
	return out
}
