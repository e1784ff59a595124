package x11

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// CookieProtocol is the one authorization protocol that the package speaks.
const CookieProtocol = "MIT-MAGIC-COOKIE-1"

// Family says what an address in an Xauthority file is (Xauth(3), Xauth.h).
type Family uint16

// The families.
const (
	FamilyInternet          Family = 0     // 4 bytes
	FamilyInternet6         Family = 6     // 16 bytes
	FamilyServerInterpreted Family = 5     // "localuser" NUL name: names a user, not a host
	FamilyLocalHost         Family = 252   // this host, whatever it is called
	FamilyKrb5Principal     Family = 253   // a principal, not a host
	FamilyNetname           Family = 254   // a Secure RPC name, not a host
	FamilyLocal             Family = 256   // the host name
	FamilyWild              Family = 65535 // any host
)

// Entry is one record of an Xauthority file.
type Entry struct {
	Family  Family
	Address []byte
	Number  string // of the display, in decimal; "" for any
	Name    string // of the authorization protocol
	Data    []byte
}

// ErrAuthority reports a file that is no Xauthority file, or a truncated one.
var ErrAuthority = errors.New("not an Xauthority file")

// ParseAuthority reads an Xauthority file: records of a family and four
// counted strings, all numbers of 16 bits, big-endian. Where it breaks off,
// the records before are returned with the error: xauth replaces the file in
// one step, but an editor or a full disk does not.
func ParseAuthority(file []byte) ([]Entry, error) {
	var entries []Entry
	for rest := file; len(rest) > 0; {
		var e Entry
		var parts [4][]byte
		if len(rest) < 2 {
			return entries, fmt.Errorf("byte %d: %w", len(file)-len(rest), ErrAuthority)
		}
		e.Family = Family(binary.BigEndian.Uint16(rest))
		next := rest[2:]
		for i := range parts {
			var ok bool
			if parts[i], next, ok = counted(next); !ok {
				return entries, fmt.Errorf("byte %d: %w", len(file)-len(rest), ErrAuthority)
			}
		}
		e.Address, e.Number, e.Name, e.Data = parts[0], string(parts[1]), string(parts[2]), parts[3]
		entries = append(entries, e)
		rest = next
	}
	return entries, nil
}

func counted(p []byte) (s, rest []byte, ok bool) {
	if len(p) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(p))
	if len(p) < 2+n {
		return nil, nil, false
	}
	return p[2 : 2+n], p[2+n:], true
}

// Endpoint is what a cookie is looked up for.
type Endpoint struct {
	IP       []byte // 4 or 16 bytes; nil for a unix socket
	Hostname string // of this machine, for local ones
	Number   int
}

// family and address by which servers and xauth file the endpoint. A loopback
// address counts as local, and an IPv4 address in IPv6 clothes as IPv4.
func (p Endpoint) key() (Family, []byte) {
	ip := p.IP
	if v4, ok := bytes.CutPrefix(ip, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}); ok && len(v4) == 4 {
		ip = v4
	}
	switch {
	case Loopback(ip), len(ip) == 0:
		return FamilyLocal, []byte(p.Hostname)
	case len(ip) == 4:
		return FamilyInternet, ip
	}
	return FamilyInternet6, ip
}

// Loopback reports whether ip, of 4 or 16 bytes, is of this machine itself.
func Loopback(ip []byte) bool {
	if v4, ok := bytes.CutPrefix(ip, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}); ok && len(v4) == 4 {
		ip = v4
	}
	return len(ip) == 4 && ip[0] == 127 || len(ip) == 16 && bytes.Equal(ip, []byte{15: 1})
}

// FindCookie returns the cookie for an endpoint, or nil. An entry for exactly
// this endpoint comes before one for a wild-carded host, and those before what
// other addresses of the same display may share: a cookie filed by address for
// a local display, or under the name that the host had before DHCP renamed it.
// Entries of the families that name a user are no cookies and are passed over.
func FindCookie(entries []Entry, p Endpoint) []byte {
	family, address := p.key()
	number := strconv.Itoa(p.Number)
	var best []byte
	rank := 0
	for _, e := range entries {
		if e.Name != CookieProtocol || len(e.Data) == 0 || e.Number != "" && e.Number != number {
			continue
		}
		if r := e.rank(family, address); r > rank {
			best, rank = e.Data, r
		}
	}
	return best
}

// rank says how well an entry fits: 0 is not at all.
func (e Entry) rank(family Family, address []byte) int {
	local := family == FamilyLocal
	switch e.Family {
	case family:
		if bytes.Equal(e.Address, address) {
			return 5
		}
		if local && e.Number != "" {
			return 1
		}
	case FamilyLocalHost:
		if local {
			return 4
		}
	case FamilyWild:
		return 3
	case FamilyInternet, FamilyInternet6:
		if local && Loopback(e.Address) {
			return 2
		}
	}
	return 0
}
