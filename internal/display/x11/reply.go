package x11

import "encoding/binary"

// parse reads the reply to q. What does not fit is Unexpected: a server that
// answers nonsense is alive.
func (q question) parse(p []byte) Event {
	if uint64(len(p)) < packetSize+4*uint64(binary.LittleEndian.Uint32(p[4:])) {
		if q.xres == xresQueryClientIDs && q.opcode >= 128 {
			return ClientsReply{Tag: q.tag, More: true} // too many to be kept
		}
		return Unexpected{q.tag}
	}
	switch {
	case q.opcode == opInternAtom:
		return AtomReply{q.tag, binary.LittleEndian.Uint32(p[8:])}
	case q.opcode == opGetProperty:
		return q.parseProperty(p)
	case q.opcode == opQueryExtension:
		return ExtensionReply{Tag: q.tag, Present: p[8] != 0 && p[9] >= 128, Major: p[9]}
	case q.opcode >= 128 && q.xres == xresQueryVersion:
		return VersionReply{q.tag, binary.LittleEndian.Uint16(p[8:]), binary.LittleEndian.Uint16(p[10:])}
	case q.opcode >= 128 && q.xres == xresQueryClientIDs:
		return q.parseClients(p)
	}
	return Unexpected{q.tag}
}

func (q question) parseProperty(p []byte) Event {
	if binary.LittleEndian.Uint32(p[8:]) == AtomAny {
		return Absent{q.tag}
	}
	r := PropertyReply{Tag: q.tag, Format: p[1], Type: binary.LittleEndian.Uint32(p[8:])}
	unit := map[byte]uint64{0: 0, 8: 1, 16: 2, 32: 4}
	size, known := unit[r.Format]
	n := size * uint64(binary.LittleEndian.Uint32(p[16:]))
	if !known || n > uint64(len(p)-packetSize) || n > uint64(q.most) {
		return Unexpected{q.tag}
	}
	if n > 0 {
		r.Value = append([]byte(nil), p[packetSize:packetSize+n]...)
	}
	return r
}

// Masks of a client id (resproto.txt, section 4).
const (
	idXID = 1 << 0
	idPID = 1 << 1
)

// parseClients reads ids, of which one client can have two: that it exists,
// and its pid.
func (q question) parseClients(p []byte) Event {
	reply := ClientsReply{Tag: q.tag}
	r := reader{rest: p[packetSize:]}
	for range binary.LittleEndian.Uint32(p[8:]) {
		id := r.take(12)
		if id == nil {
			return Unexpected{q.tag}
		}
		base, mask, length := binary.LittleEndian.Uint32(id), binary.LittleEndian.Uint32(id[4:]), binary.LittleEndian.Uint32(id[8:])
		if length > MaxKept {
			return Unexpected{q.tag}
		}
		value := r.take(int(length))
		if value == nil && length > 0 {
			return Unexpected{q.tag}
		}
		var pid uint32
		if mask&idPID != 0 && length == 4 {
			pid = binary.LittleEndian.Uint32(value)
		}
		reply.add(base, pid)
	}
	return reply
}

func (r *ClientsReply) add(base, pid uint32) {
	// Both ids of a client come one after the other.
	for i := len(r.Clients) - 1; i >= 0 && i >= len(r.Clients)-2; i-- {
		if r.Clients[i].Base == base {
			r.Clients[i].PID = max(r.Clients[i].PID, pid)
			return
		}
	}
	if len(r.Clients) >= MaxClients {
		r.More = true
		return
	}
	r.Clients = append(r.Clients, Client{Base: base, PID: pid})
}
