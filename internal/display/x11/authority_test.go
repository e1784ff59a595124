package x11

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// encode writes entries as xauth does.
func encode(entries ...Entry) []byte {
	var out []byte
	counted := func(p []byte) {
		out = binary.BigEndian.AppendUint16(out, uint16(len(p)))
		out = append(out, p...)
	}
	for _, e := range entries {
		out = binary.BigEndian.AppendUint16(out, uint16(e.Family))
		counted(e.Address)
		counted([]byte(e.Number))
		counted([]byte(e.Name))
		counted(e.Data)
	}
	return out
}

func cookie(family Family, address, number, data string) Entry {
	return Entry{family, []byte(address), number, CookieProtocol, []byte(data)}
}

func TestFindCookie(t *testing.T) {
	const host = "ltsp101"
	v4, v6 := string([]byte{10, 0, 0, 7}), string([]byte{0xfd, 15: 7})
	local := Endpoint{Hostname: host, Number: 1}
	far4 := Endpoint{IP: []byte(v4), Hostname: host, Number: 1}
	far6 := Endpoint{IP: []byte(v6), Hostname: host, Number: 1}
	mapped := Endpoint{IP: append([]byte{10: 0xff, 11: 0xff}, v4...), Hostname: host, Number: 1}
	relayed := Endpoint{IP: []byte{127, 0, 0, 1}, Hostname: host, Number: 10}
	loop6 := Endpoint{IP: []byte{15: 1}, Hostname: host, Number: 10}

	for _, c := range []struct {
		name    string
		entries []Entry
		at      Endpoint
		want    string
	}{
		{"local", []Entry{cookie(FamilyLocal, host, "1", "a")}, local, "a"},
		{"another display's", []Entry{cookie(FamilyLocal, host, "2", "a")}, local, ""},
		{"any display's", []Entry{cookie(FamilyLocal, host, "", "a")}, local, "a"},
		{"this host before the one it was called", []Entry{cookie(FamilyLocal, "old", "1", "b"), cookie(FamilyLocal, host, "1", "a")}, local, "a"},
		{"the host was renamed", []Entry{cookie(FamilyLocal, "old", "1", "b")}, local, "b"},
		{"any display of another host", []Entry{cookie(FamilyLocal, "old", "", "b")}, local, ""},
		{"the first of two that fit", []Entry{cookie(FamilyLocal, host, "1", "a"), cookie(FamilyLocal, host, "1", "b")}, local, "a"},
		{"wild", []Entry{cookie(FamilyWild, "", "1", "w")}, local, "w"},
		{"wild, any display", []Entry{cookie(FamilyWild, "", "", "w")}, far6, "w"},
		{"exact before wild", []Entry{cookie(FamilyWild, "", "1", "w"), cookie(FamilyLocal, host, "1", "a")}, local, "a"},
		{"local host", []Entry{cookie(FamilyLocalHost, "", "1", "l")}, local, "l"},
		{"local host is not far", []Entry{cookie(FamilyLocalHost, "", "1", "l")}, far4, ""},
		{"by loopback address", []Entry{cookie(FamilyInternet, "\x7f\x00\x00\x01", "1", "i")}, local, "i"},
		{"by IPv4", []Entry{cookie(FamilyLocal, host, "1", "a"), cookie(FamilyInternet, v4, "1", "i")}, far4, "i"},
		{"by another IPv4", []Entry{cookie(FamilyInternet, "\x0a\x00\x00\x08", "1", "i")}, far4, ""},
		{"IPv4 in IPv6", []Entry{cookie(FamilyInternet, v4, "1", "i")}, mapped, "i"},
		{"by IPv6", []Entry{cookie(FamilyInternet6, v6, "1", "s")}, far6, "s"},
		{"local is not far", []Entry{cookie(FamilyLocal, host, "1", "a")}, far6, ""},
		{"ssh -X", []Entry{cookie(FamilyLocal, host, "10", "x")}, relayed, "x"},
		{"ssh -X on IPv6", []Entry{cookie(FamilyLocal, host, "10", "x")}, loop6, "x"},
		{"another protocol", []Entry{{FamilyLocal, []byte(host), "1", "XDM-AUTHORIZATION-1", []byte("k")}}, local, ""},
		{"no data", []Entry{cookie(FamilyLocal, host, "1", "")}, local, ""},
		{"a user is no host", []Entry{cookie(FamilyServerInterpreted, "localuser\x00joe", "1", "u"), cookie(FamilyKrb5Principal, "joe", "1", "k"), cookie(FamilyNetname, "joe", "1", "n")}, local, ""},
	} {
		entries, err := ParseAuthority(encode(c.entries...))
		if err != nil {
			t.Fatal(err)
		}
		if got := FindCookie(entries, c.at); string(got) != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAuthorityBreaksOff(t *testing.T) {
	whole := encode(cookie(FamilyLocal, "h", "1", "abcd"), cookie(FamilyLocal, "h", "2", "efgh"))
	one := len(whole) / 2
	for n := range len(whole) {
		entries, err := ParseAuthority(whole[:n])
		if n%one == 0 {
			if err != nil || len(entries) != n/one {
				t.Errorf("%d bytes: %d entries, %v", n, len(entries), err)
			}
			continue
		}
		if !errors.Is(err, ErrAuthority) || len(entries) != n/one {
			t.Errorf("%d bytes: %d entries, %v", n, len(entries), err)
		}
	}
}

// What the real xauth writes is read.
func TestXauth(t *testing.T) {
	xauth, err := exec.LookPath("xauth")
	if err != nil {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "auth")
	const hex = "00112233445566778899aabbccddeeff"
	for _, display := range []string{":5", "192.0.2.7:6", "[2001:db8::7]:7"} {
		if out, err := exec.CommandContext(t.Context(), xauth, "-i", "-f", file, "add", display, ".", hex).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", display, err, out)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := ParseAuthority(data)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	want := []byte{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	for _, p := range []Endpoint{
		{Hostname: host, Number: 5},
		{IP: []byte{192, 0, 2, 7}, Number: 6},
		{IP: []byte{0x20, 0x01, 0x0d, 0xb8, 15: 7}, Number: 7},
	} {
		if got := FindCookie(entries, p); !bytes.Equal(got, want) {
			t.Errorf("%+v: %x of %+v", p, got, entries)
		}
	}
}

func FuzzAuthority(f *testing.F) {
	f.Fuzz(func(t *testing.T, file []byte) {
		entries, err := ParseAuthority(file)
		if err != nil && !errors.Is(err, ErrAuthority) {
			t.Error(err)
		}
		if again := encode(entries...); !bytes.HasPrefix(file, again) || err == nil && len(again) != len(file) {
			t.Errorf("%x reads as %x", file, again)
		}
		for _, p := range []Endpoint{{Hostname: "h"}, {IP: []byte{10, 0, 0, 1}, Number: 1}, {IP: []byte{15: 2}}} {
			FindCookie(entries, p)
		}
	})
}
